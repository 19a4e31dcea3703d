package pressure

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLevelOf(t *testing.T) {
	for _, row := range []struct {
		used uint64
		want Level
	}{{0, Calm}, {79 << 20, Calm}, {81 << 20, KeepLess}, {91 << 20, Refuse}, {96 << 20, TakeNoOne}, {1 << 40, TakeNoOne}} {
		if got := levelOf(row.used, 100<<20); got != row.want {
			t.Errorf("%d of %d: %v, want %v", row.used, 100<<20, got, row.want)
		}
	}
	var none *Gauge
	if none.Level() != Calm {
		t.Error("the nil Gauge is not calm")
	}
}

// A level rises at once, and falls after it has lasted.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var used atomic.Uint64
		g := &Gauge{log: slog.New(slog.DiscardHandler), limit: 100 << 20, used: func() (uint64, error) { return used.Load() << 20, nil }}
		var seen []Level
		done := make(chan bool)
		go func() {
			g.Run(ctx, func(l Level) { seen = append(seen, l) })
			close(done)
		}()
		for _, u := range []uint64{50, 92, 96, 10} {
			used.Store(u)
			time.Sleep(every)
			synctest.Wait()
		}
		if g.Level() != TakeNoOne {
			t.Errorf("level %v fell at once", g.Level())
		}
		time.Sleep(hold)
		synctest.Wait()
		if want := []Level{Refuse, TakeNoOne, Calm}; !slices.Equal(seen, want) {
			t.Errorf("levels %v, want %v", seen, want)
		}
		cancel()
		<-done
		g.used = func() (uint64, error) { return 0, errors.New("gone") }
		g.Run(t.Context(), nil) // ends by itself
	})
}

func TestControlGroup(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("self", "1:name=systemd:/x\n0::/a/b/c\n")
	write("a/memory.max", "1000\n")
	write("a/b/memory.max", "500\n")
	write("a/b/c/memory.max", "max\n")
	write("a/b/memory.current", "400\n")
	write("a/b/memory.stat", "anon 1\ninactive_file 150\n")
	dir, limit := controlGroup(root, filepath.Join(root, "self"))
	if dir != filepath.Join(root, "a/b") || limit != 500 {
		t.Errorf("group %s with %d, want a/b with 500", dir, limit)
	}
	if used, err := charged(dir); used != 250 || err != nil {
		t.Errorf("charged %d %v, want 250", used, err)
	}
	write("self", "0::/nowhere\n")
	if dir, _ := controlGroup(root, filepath.Join(root, "self")); dir != "" {
		t.Errorf("group %s, want none", dir)
	}
	if g := New(0, slog.New(slog.DiscardHandler)); g.Limit() == 0 {
		t.Error("this machine's memory is not found")
	}
	if used, err := resident(); used == 0 || err != nil {
		t.Errorf("resident %d %v", used, err)
	}
}
