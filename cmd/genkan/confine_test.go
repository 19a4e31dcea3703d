package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Landlock lets a thread write where it is told to and nowhere else; it may read all.
func TestLandlock(t *testing.T) {
	allowed, other := t.TempDir(), "/genkan-landlock-test"
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the lock with it
		on, err := landlock([]string{allowed, filepath.Join(allowed, "absent")})
		if err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(allowed, "file"), []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
		err = os.WriteFile(other, []byte("x"), 0o600)
		if refused := errors.Is(err, fs.ErrPermission); on && !refused {
			t.Errorf("write to %s: %v", other, err)
		}
		_ = os.Remove(other) // where there is no Landlock
		if err := os.Remove("/etc/hostname.absent"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove what is not there: %v", err)
		}
		if _, err := os.ReadFile("/etc/passwd"); err != nil {
			t.Errorf("read: %v", err)
		}
	}()
	<-done
}
