package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what came out as what is wanted, to be read before it is committed")

// TestBad loads one broken configuration a file of testdata/bad and compares the whole text of the error with its part "want".
func TestBad(t *testing.T) {
	each(t, "testdata/bad/*.txtar", func() string {
		_, err := Load("genkan.toml", Options{})
		if err == nil {
			return ""
		}
		return err.Error() + "\n"
	})
}

// TestWarned does the same with the warnings of configurations that hold.
func TestWarned(t *testing.T) {
	each(t, "testdata/good/*.txtar", func() string {
		plan, err := Load("genkan.toml", Options{})
		if err != nil {
			return "ERROR " + err.Error() + "\n"
		}
		if len(plan.Warnings) == 0 {
			return ""
		}
		return plan.Warnings.Error() + "\n"
	})
}

// each runs a function in a directory with the files of an archive, and compares what it gives with the part "want".
func each(t *testing.T, glob string, run func() string) {
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", glob, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			abs, _ := filepath.Abs(file)
			t.Chdir(t.TempDir())
			want := &txtar.File{}
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = &archive.Files[i]
					continue
				}
				if err := os.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
					t.Fatal(err)
				}

				if err := os.WriteFile(f.Name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := run()
			if got == string(want.Data) {
				return
			}
			if *update {
				want.Data = []byte(got)
				if want.Name == "" {
					archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
				}
				if err := os.WriteFile(abs, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s\ngot:\n%swant:\n%s", archive.Comment, got, want.Data)
		})
	}
}
