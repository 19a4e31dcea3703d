package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// holder is the variable that makes this program hold a lock in the store
// that it names, until it is killed.
const holder = "GENKAN_TEST_HOLD"

// filler is the variable that makes it write too much into one.
const filler = "GENKAN_TEST_FILL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(filler); dir != "" {
		fmt.Println(fill(dir))
		return
	}
	if dir := os.Getenv(holder); dir != "" {
		s, err := Open(dir)
		if err == nil {
			err = s.Lock(context.Background(), "www")
		}
		fmt.Println("held", err)
		select {}
	}
	goleak.VerifyTestMain(m)
}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	s, ctx := mustOpen(t, t.TempDir()), t.Context()
	for _, key := range []string{"a/b/c.crt", "a/b/c.key", "a/d.json"} {
		if err := s.Store(ctx, key, []byte("first")); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load(ctx, key); err != nil || string(got) != key {
			t.Errorf("load %s: %q, %v", key, got, err)
		}
	}
	// What a crash leaves is no key.
	if err := os.WriteFile(filepath.Join(s.Dir(), "a", temporary+"1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		recursive bool
		want      string
	}{{false, "a/b a/d.json"}, {true, "a/b a/b/c.crt a/b/c.key a/d.json"}} {
		keys, err := s.List(ctx, "a", row.recursive)
		slices.Sort(keys)
		if got := strings.Join(keys, " "); err != nil || got != row.want {
			t.Errorf("list, recursive %v: %q, %v; want %q", row.recursive, got, err, row.want)
		}
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || info.IsTerminal {
		t.Errorf("stat a/b: %+v, %v", info, err)
	}
	if info, err := s.Stat(ctx, "a/d.json"); err != nil || !info.IsTerminal || info.Size != 8 {
		t.Errorf("stat a/d.json: %+v, %v", info, err)
	}
	if err := errors.Join(s.Delete(ctx, "a/b"), s.Delete(ctx, "a/b"), s.Delete(ctx, "never")); err != nil {
		t.Error(err)
	}
	if s.Exists(ctx, "a/b/c.crt") || !s.Exists(ctx, "a") {
		t.Error("a/b is there, or a is not")
	}
	for _, load := range []string{"a/b/c.crt", "a", "none"} {
		if _, err := s.Load(ctx, load); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("load %s: %v", load, err)
		}
	}
	info, err := os.Stat(filepath.Join(s.Dir(), "a", "d.json"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("others may read it: %v, %v", info, err)
	}
}

func TestKeysStayInside(t *testing.T) {
	dir := t.TempDir()
	s, ctx := mustOpen(t, filepath.Join(dir, "certs")), t.Context()
	for _, key := range []string{"", ".", "a/..", "..", "../x", "/etc/passwd", "a/../../x", "a\x00"} {
		want := fmt.Sprintf("certificates: %q is no key of the store", key)
		_, err := s.Load(ctx, key)
		for _, err := range []error{err, s.Store(ctx, key, nil), s.Delete(ctx, key)} {
			if err == nil || err.Error() != want {
				t.Errorf("%q: %v", key, err)
			}
		}
		if s.Exists(ctx, key) {
			t.Errorf("%q exists", key)
		}
	}
}

// A full disk leaves the old value, and nothing else.
func TestStoreLeavesTheOldOne(t *testing.T) {
	s, ctx := mustOpen(t, t.TempDir()), t.Context()
	if err := s.Store(ctx, "a/x", []byte("old")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), filler+"="+s.Dir())
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "file too large") {
		t.Errorf("writing more than may be written: %q, %v", out, err)
	}
	if got, err := s.Load(ctx, "a/x"); err != nil || string(got) != "old" {
		t.Errorf("left: %q, %v", got, err)
	}
	entries, err := os.ReadDir(filepath.Join(s.Dir(), "a"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// fill stores more than this process may write.
func fill(dir string) error {
	signal.Ignore(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 512, Max: 512}); err != nil {
		return err
	}
	s, err := Open(dir)
	if err != nil {
		return err
	}
	return s.Store(context.Background(), "a/x", make([]byte, 4096))
}

func TestOneHasTheLock(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{mustOpen(t, dir), mustOpen(t, dir)} // as two processes
	var all sync.WaitGroup
	inside, most := 0, 0
	var mu sync.Mutex
	for i := range 8 {
		all.Go(func() {
			s := stores[i%2]
			if err := s.Lock(t.Context(), "www"); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			inside--
			mu.Unlock()
			if err := s.Unlock(t.Context(), "www"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most != 1 {
		t.Errorf("%d had the lock at once", most)
	}
	if left, err := os.ReadDir(filepath.Join(dir, lockDir)); err != nil || len(left) != 0 {
		t.Errorf("lock files left: %v, %v", left, err)
	}
}

func TestLockGivesUp(t *testing.T) {
	dir := t.TempDir()
	a, b := mustOpen(t, dir), mustOpen(t, dir)
	if err := a.Lock(t.Context(), "www"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{a, b} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := s.Lock(ctx, "www")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second lock: %v", err)
		}
		if ok, err := s.TryLock(t.Context(), "www"); ok || err != nil {
			t.Errorf("try: %v, %v", ok, err)
		}
	}
	if err := a.Unlock(t.Context(), "www"); err != nil {
		t.Error(err)
	}
	if err := a.Unlock(t.Context(), "www"); err == nil || err.Error() != `certificates: the lock "www" is not held` {
		t.Errorf("second unlock: %v", err)
	}
}

// The lock of a process that was killed is free, whatever its file holds and
// whatever the clock says of it.
func TestLockOfTheKilled(t *testing.T) {
	for _, row := range []struct {
		name    string
		content string
		age     time.Duration
	}{
		{"as-it-was", "", 0},
		{"truncated", "{\"created\":\"2026-", 0},
		{"nul-filled", strings.Repeat("\x00", 512), 0},
		{"clock-was-ahead", "", -365 * 24 * time.Hour},
		{"clock-was-behind", "", 365 * 24 * time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), holder+"="+s.Dir())
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if line != "held <nil>\n" {
				t.Errorf("the holder says %q, %v", line, err)
			}
			file := s.lockFile("www")
			if ok, err := s.TryLock(t.Context(), "www"); ok || err != nil {
				t.Errorf("while it is held: %v, %v", ok, err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			cmd.Wait()
			if err := os.WriteFile(file, []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
			then := time.Now().Add(-row.age)
			if err := os.Chtimes(file, then, then); err != nil {
				t.Fatal(err)
			}
			if ok, err := s.TryLock(t.Context(), "www"); !ok || err != nil {
				t.Errorf("after the kill: %v, %v", ok, err)
			} else if err := s.Unlock(t.Context(), "www"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A key's file is below the directory, or the key is none.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a/b", "..", "a/../b", "a/../../b", "/a", "", ".", "a//b", "a\x00"} {
		f.Add(key)
	}
	s := &Store{dir: "/certs"}
	f.Fuzz(func(t *testing.T, key string) {
		name, err := s.file(key)
		if err != nil {
			return
		}
		if up := filepath.Clean(name); !strings.HasPrefix(up, "/certs/") {
			t.Errorf("%q: %q", key, name)
		}
	})
}

// A store that is closed changes nothing any more, and waits for the locks that are held.
func TestClose(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := errors.Join(s.Store(ctx, "a", []byte("1")), s.Lock(ctx, "www")); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- s.Close(ctx) }()
	select {
	case err := <-closed:
		t.Fatalf("closed while a lock is held: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := errors.Join(s.Store(ctx, "a", []byte("2")), s.Unlock(ctx, "www")); err != nil { // what was begun ends
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	ok, err := s.TryLock(ctx, "www")
	for what, err := range map[string]error{
		"store": s.Store(ctx, "a", []byte("3")), "delete": s.Delete(ctx, "a"), "lock": s.Lock(ctx, "www"), "try": err,
	} {
		if !errors.Is(err, errClosed) || ok {
			t.Errorf("%s: %v, want %v", what, err, errClosed)
		}
	}
	if text, err := s.Load(ctx, "a"); err != nil || string(text) != "2" {
		t.Errorf("load: %q, %v", text, err)
	}
}
