package integration

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"genkan/integration/internal/require"
)

// "genkan demo --once" shows every hop, ends well, and leaves no namespace.
func TestDemoOnce(t *testing.T) {
	require.Root(t)
	require.File(t, "/dev/net/tun", "kernel module tun")
	program, err := genkanBuilt()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "demo", "--once")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo --once: %v\n%s", err, out)
	}
	for _, want := range []string{
		"198.51.100.1 → 203.0.113.5",
		`allowed by rule "allow all"`,
		"sees 10.0.0.1 over IPv4, X-Forwarded-For: 2001:db8:6::10",
		"sees nothing of it",
		"403 Forbidden",
		"All went as it must.",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	checkNoNames(t, cmd.Process.Pid)
}

// Without --once the demo stays up until Ctrl-C, and that is a good end.
func TestDemoUntilInterrupted(t *testing.T) {
	w := mustQuietWorld(t)
	p, err := w.Front.Run(w.program, "demo") // inside a namespace: its lab is made in there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.WaitFor("Ctrl-C ends the demo", 4*patience); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if p.Err() != nil {
		t.Errorf("exit after SIGINT: %v\n%s", p.Err(), p.Output())
	}
	checkNoNames(t, p.Pid())
}

// checkNoNames wants nothing of the process's lab below /run/netns.
func checkNoNames(t *testing.T, pid int) {
	t.Helper()
	names, err := os.ReadDir("/run/netns")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "genkan"+strconv.Itoa(pid)+"-") {
			t.Errorf("left below /run/netns: %s", n.Name())
		}
	}
}
