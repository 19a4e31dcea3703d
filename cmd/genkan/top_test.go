package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A terminal that answers no questions, such as a serial console, delays no command, and sees nothing of them.
func TestTerminalIsNotAsked(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	far, near := mustTerminal(t)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = near, near, near
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // in the foreground, where it would ask
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CI=") && !strings.HasPrefix(v, "TERM=") { // by which it would not
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "TERM=xterm-256color")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	near.Close()
	seen, _ := io.ReadAll(far) // ends by EIO
	if strings.Contains(string(seen), "\x1b") || !strings.Contains(string(seen), "PASS") {
		t.Errorf("the terminal saw %q", seen)
	}
}

// top without a terminal says what to write instead.
func TestTopNeedsTerminal(t *testing.T) {
	const want = "genkan: top needs a terminal; write genkan top --once, or genkan status --json for programs\n"
	if status, out, complaint := genkan("", "top"); status != 2 || out != "" || complaint != want {
		t.Errorf("status %d, %q, %q; want 2, %q", status, out, complaint, want)
	}
}

// mustTerminal makes a pseudo-terminal: far is where a person would sit.
func mustTerminal(t *testing.T) (far, near *os.File) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	if err := unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	near, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	return far, near
}
