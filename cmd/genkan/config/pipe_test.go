package config

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A named pipe among the included files does not hold up a check or a reload.
func TestPipeAsInclude(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "genkan.toml")
	text := "include = [\"sites/*.toml\"]\n[forward.a]\nlisten = \":2222\"\nto = \"10.0.0.10:22\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sites"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "sites", "a.toml"), 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := Load(file, Options{})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Load waits for a writer")
	}
}
