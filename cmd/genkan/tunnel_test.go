package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
)

// needRoot skips a test without root, or fails it where GENKAN_REQUIRE=all says that nothing may be skipped.
func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("GENKAN_REQUIRE") == "all":
		t.Fatal("needs root")
	default:
		t.Skip("needs root")
	}
}

// A host is the lab's front: an IPv4 uplink, and the program.
type host struct {
	*lab.Lab
	program string
	before  []string
}

func mustHost(t *testing.T) *host {
	t.Helper()
	needRoot(t)
	program, err := exec.LookPath("genkan")
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	before, err := l.Front.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return &host{l, program, before}
}

// genkan runs one command line there and returns what it writes, "exit N: " in front where N is not 0.
func (h *host) genkan(t *testing.T, args ...string) string {
	t.Helper()
	cmd, err := h.Private(h.Front, h.program, args...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Kill()
		t.Fatalf("genkan %v did not end; it wrote:\n%s", args, p.Output())
	}
	if p.Err() != nil {
		return p.Err().Error() + ": " + p.Output()
	}
	return p.Output()
}

// waitAsBefore waits until nothing is left of the tunnel.
func (h *host) waitAsBefore(t *testing.T) {
	t.Helper()
	var diff []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		now, err := h.Front.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		diff = slices.DeleteFunc(lab.Diff(h.before, now), func(line string) bool {
			return strings.HasPrefix(line, "+ route fe80::") // of the lab's own cables, once DAD has passed
		})
		if len(diff) == 0 {
			return
		}
	}
	t.Fatalf("left behind:\n%s", strings.Join(diff, "\n"))
}

func mustContain(t *testing.T, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

// TestTunnelConfirm brings a tunnel up for a moment: without a word it goes by itself, with one it stays until "down".
func TestTunnelConfirm(t *testing.T) {
	h := mustHost(t)
	up := []string{"tunnel", "up", "--prefix", lab.SixRD.String(), "--relay", lab.RelayV4.String()}
	t.Cleanup(func() { h.genkan(t, "tunnel", "down") })

	mustContain(t, h.genkan(t, append(up, "--dry-run")...), lab.Front6.String(), "lets in: ICMPv6, answers\n")
	mustContain(t, h.genkan(t, append(up, "--dry-run", "--local", "192.0.2.99")...), "warning: no interface of this host has the local address 192.0.2.99: ")
	h.waitAsBefore(t)

	mustContain(t, h.genkan(t, append(up, "--confirm", "-5s")...), "exit status 1: ", "--confirm -5s: no time to confirm in; write one like 60s")
	if _, err := h.Front.Output(t.Context(), "ip", "link", "add", "tun6rd", "type", "bridge"); err != nil {
		t.Fatal(err)
	}
	mustContain(t, h.genkan(t, append(up, "--replace", "--confirm", "1h")...), "exit status 1: ", "--replace deletes the interface \"tun6rd\", and --confirm could not bring it back")
	if _, err := h.Front.Output(t.Context(), "ip", "link", "del", "tun6rd"); err != nil { // it is still there
		t.Fatal(err)
	}
	h.waitAsBefore(t)

	mustContain(t, h.genkan(t, append(up, "--confirm", "1s")...), "The tunnel is up; ", "within 1s, or everything is taken back.")
	h.waitAsBefore(t)
	status := ""
	for end := time.Now().Add(patience); time.Now().Before(end) && !strings.HasPrefix(status, "exit status 1: "); time.Sleep(20 * time.Millisecond) {
		status = h.genkan(t, "tunnel", "status")
	}
	mustContain(t, status, "no tunnel is up")

	mustContain(t, h.genkan(t, append(up, "--confirm", "1h")...), "The tunnel is up; ")
	mustContain(t, h.genkan(t, up...), "exit status 1: ", "tun6rd is up already, and process ", "waits for its confirmation until ")
	mustContain(t, h.genkan(t, "tunnel", "status"), "address    "+lab.Front6.String(), "waits      for \"genkan tunnel confirm\" until ")
	mustContain(t, h.genkan(t, "tunnel", "confirm"), "The tunnel stays.")
	if got := h.genkan(t, "tunnel", "status"); strings.Contains(got, "waits") {
		t.Errorf("still waits:\n%s", got)
	}
	mustContain(t, h.genkan(t, "tunnel", "confirm"), "exit status 1: ", "nothing waits for a confirmation")
	mustContain(t, h.genkan(t, "tunnel", "down"), "The tunnel is down.")
	h.waitAsBefore(t)
}

// TestTunnelOfKilledKeeper: what a killed process left is no host without a tunnel.
func TestTunnelOfKilledKeeper(t *testing.T) {
	h := mustHost(t)
	t.Cleanup(func() { h.genkan(t, "tunnel", "down") })
	mustContain(t, h.genkan(t, "tunnel", "up", "--prefix", lab.SixRD.String(), "--relay", lab.RelayV4.String(), "--confirm", "1h"), "The tunnel is up; ")
	var status tunnelStatus
	if err := json.Unmarshal([]byte(h.genkan(t, "tunnel", "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(status.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("exit status 1: genkan: tun6rd stands, or what is left of it, and process %d, which made it, is gone; "+
		"write genkan tunnel up to go on with it, or genkan tunnel down to take it back\n", status.Pid)
	for _, ask := range []string{"status", "confirm"} {
		got := h.genkan(t, "tunnel", ask)
		for end := time.Now().Add(patience); got != want && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			got = h.genkan(t, "tunnel", ask) // it is dying
		}
		if got != want {
			t.Errorf("%s: %q, want %q", ask, got, want)
		}
	}
	mustContain(t, h.genkan(t, "tunnel", "down"), "The tunnel is down.")
	mustContain(t, h.genkan(t, "tunnel", "status"), "no tunnel is up")
	h.waitAsBefore(t)
}

// TestTunnelOfRun shows the tunnel of "genkan run" by the same subcommand, which cannot take it down.
func TestTunnelOfRun(t *testing.T) {
	h := mustHost(t)
	d, err := h.Genkan(h.Front, h.program, "[tunnel]\nprefix = \""+lab.SixRD.String()+"\"\nrelays = [\""+lab.RelayV4.String()+"\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			d.Kill()
		}
	})
	if err := d.WaitReady(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	mustContain(t, h.genkan(t, "tunnel", "status"), "address    "+lab.Front6.String())
	mustContain(t, h.genkan(t, "tunnel", "down"), "exit status 1: ", "the tunnel belongs to \"genkan run\" (process ")
	stopped = true
	if err := d.Stop(patience); err != nil {
		t.Fatal(err)
	}
	h.waitAsBefore(t)
}
