package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkLoad10k loads 10,000 sites, one file a customer.
func BenchmarkLoad10k(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, "genkan.toml")
	mustWrite(b, file, "include = [\"sites/*.toml\"]\n[tunnel]\nprefix = \"2001:e41::/32\"\nrelays = [\"61.211.224.125\"]\n")
	for i := range 10_000 {
		mustWrite(b, filepath.Join(dir, "sites", fmt.Sprintf("%05d.toml", i)), fmt.Sprintf(
			"[site.\"www.c%d.example\"]\nlisten = [\"tunnel:80\", \"203.0.113.5:80\"]\nto = \"10.0.%d.%d:80\"\naccess = [\"deny blocked\", \"allow all\"]\n"+
				"[lists]\nblocked = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n", i, i/256, i%256))
	}
	for b.Loop() {
		if _, err := Load(file, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func mustWrite(tb testing.TB, file, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// FuzzLoad wants a plan or mistakes with places from any text, and that a plan does not differ from itself.
func FuzzLoad(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, key := range []string{"include", "file", "dir", "cert", "backend_tls"} {
			if strings.Contains(text, key) {
				return // leads to files of this machine
			}
		}
		file := filepath.Join(t.TempDir(), "f.toml")
		mustWrite(t, file, text)
		plan, err := Load(file, Options{})
		var mistakes Mistakes
		switch {
		case err == nil:
			if diff := plan.Diff(plan); len(diff) > 0 {
				t.Fatalf("%q differs from itself: %v", text, diff)
			}
		case !errors.As(err, &mistakes) || len(mistakes) == 0:
			t.Fatalf("%q: %v is no list of mistakes", text, err)
		default:
			for _, m := range mistakes {
				if m.Pos.File != file {
					t.Fatalf("%q: %v has no place", text, m)
				}
			}
		}
	})
}
