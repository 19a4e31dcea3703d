package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
)

// patience bounds each wait for a server: longer than the slowest, a database that
// makes its files, needs on a machine with a load of forty.
const patience = 2 * time.Minute

// alone runs the rest of its arguments with names resolved by nobody and an
// empty /run. A nameserver that does not answer would cost ten seconds a name;
// one that nobody is refuses at once.
const alone = `mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts &&
mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && cd / && shift 2 && exec "$@"`

// A Server is a running server.
type Server struct {
	*lab.Process
	// Dir holds its files.
	Dir string
	log string // a log file; empty: it writes to its output
	// hasty servers are killed: they take a second to end in good order.
	hasty bool
}

// folder makes a folder for a server, which users other than root can enter.
func folder(t testing.TB, l *lab.Lab, name string, below ...string) string {
	t.Helper()
	dir := filepath.Join(l.Dir, name)
	for _, d := range append([]string{""}, below...) {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run starts a server in the backend and stops it at the end of the test.
func run(t testing.TB, l *lab.Lab, dir, program string, args ...string) *Server {
	t.Helper()
	p, err := l.Backend.RunCmd(command(t, l, program, args...))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Process: p, Dir: dir}
	t.Cleanup(func() {
		if s.hasty {
			p.Kill()
		} else if err := p.Stop(patience); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", program, s.Log())
		}
	})
	return s
}

// command is a program in the surroundings that the servers have.
func command(t testing.TB, l *lab.Lab, program string, args ...string) *exec.Cmd {
	t.Helper()
	resolv, hosts := filepath.Join(l.Dir, "resolv.conf"), filepath.Join(l.Dir, "hosts")
	write(t, resolv, "nameserver 127.0.0.1\n")
	write(t, hosts, "127.0.0.1 localhost\n")
	cmd := exec.Command("/bin/sh", append([]string{"-c", alone, "sh", resolv, hosts, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// finish runs a program of a server's to its end.
func finish(t testing.TB, l *lab.Lab, program string, args ...string) {
	t.Helper()
	p, err := l.Backend.RunCmd(command(t, l, program, args...))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Kill()
	}
	if p.Err() != nil {
		t.Fatalf("%s: %v\n%s", program, p.Err(), p.Output())
	}
}

// Log is all that the server has logged so far.
func (s *Server) Log() string {
	text := s.Output()
	if s.log != "" {
		file, err := os.ReadFile(s.log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return text + err.Error()
		}
		text += string(file)
	}
	return text
}

// WaitLog waits for a line of the log that has all words: servers log when
// the client has its answer already.
func (s *Server) WaitLog(t testing.TB, words ...string) {
	t.Helper()
	wait(t, "log line", func() error {
		for line := range strings.Lines(s.Log()) {
			if hasAll(line, words) {
				return nil
			}
		}
		return fmt.Errorf("no line with %q in:\n%s", words, s.Log())
	})
}

func hasAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// wait polls f until it returns nil.
func wait(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %v: %v", what, patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
