package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SIGUSR1 makes the access log go on in a new file, as logrotate wants it; the
// connections and the configuration stay.
func TestAccessLogRotates(t *testing.T) {
	dir := t.TempDir()
	file, log := filepath.Join(dir, "genkan.toml"), filepath.Join(dir, "access.log")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
state_dir = %q

[log]
access = %q

[site."a.test"]
listen = "127.0.0.1:0"
status = 204
`, dir, log), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "run", "-c", file, "--socket", filepath.Join(dir, "genkan.sock"), "--log-format", "json")
	conn := mustDial(t, p.addr)
	ask := func(path string) {
		t.Helper()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a.test\r\n\r\n", path)
		answer := make([]byte, 512)
		if n, err := conn.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 204 ") {
			t.Fatalf("%q, %v", answer[:n], err)
		}
	}
	waitFor := func(file, want string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			text, err := os.ReadFile(file)
			if err == nil && strings.Count(string(text), "\n") == 1 && strings.Contains(string(text), want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q, %v; want %s", file, text, err, want)
			}
		}
	}
	ask("/one")
	waitFor(log, `"GET /one HTTP/1.1" 204 0`)
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(log); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no new file")
		}
	}
	ask("/two")
	waitFor(log, `"GET /two HTTP/1.1" 204 0`)
	waitFor(log+".1", `"GET /one HTTP/1.1" 204 0`)
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
