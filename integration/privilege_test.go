package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// Started by root with user = "nobody", Genkan is nobody with five capabilities
// and cannot write elsewhere; it serves, reloads, is upgraded and takes all
// back as before.
func TestPrivilegesDropped(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	before := mustSnapshot(t, w.Front)
	readable(t, w.program)
	// As udev has it, and not every container: everybody may open the device.
	start := filepath.Join(w.Dir, "start")
	mustWrite(t, start, "#!/bin/sh\nmount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "+w.program+" \"$@\"\n")
	if err := os.Chmod(start, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := w.Genkan(w.Front, start, "user = \"nobody\"\n"+loadConfig(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	waitReady(t, p)
	check := func(when string) {
		t.Helper()
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"Uid:\t65534\t65534\t65534\t65534\n", "Groups:\t \n", "NoNewPrivs:\t1\n",
			// net_bind_service 10, net_admin 12, net_raw 13, perfmon 38, bpf 39
			"CapPrm:\t000000c000003400\n", "CapEff:\t000000c000003400\n", "CapAmb:\t000000c000003400\n",
		} {
			if !strings.Contains(string(status), want) {
				t.Errorf("%s: no %q in:\n%s", when, want, status)
			}
		}
		for _, c := range clients[:2] {
			client := w.httpClient(c.addr, false)
			if err := ask(t.Context(), client, "http://"+c.to+"/"); err != nil {
				t.Errorf("%s: %s: %v", when, c.name, err)
			}
		}
	}
	check("at the start")
	mustWrite(t, w.ConfigFile(w.Front), "user = \"nobody\"\n"+loadConfig(1)+
		fmt.Sprintf("[forward.more]\nlisten = \"%s:81\"\nto = \"%s:8080\"\n", lab.FrontV4, lab.BackendV4))
	if said := w.ask(t, "reload"); !strings.Contains(said, `+ forward "more"`) {
		t.Errorf("reload says %q", said)
	}
	if said := w.ask(t, "upgrade"); !strings.Contains(said, "is done") {
		t.Errorf("upgrade says %q", said)
	}
	check("after an upgrade")
	if err := p.Stop(patience); err != nil {
		t.Error(err)
	}
	checkUntouched(t, w.Front, before, "after SIGTERM")
}

// readable lets everybody run a program that was built into a folder of root's.
func readable(t *testing.T, program string) {
	t.Helper()
	for dir := filepath.Dir(program); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// What systemd has to say about the unit: it is right, and well confined.
func TestUnitIsConfined(t *testing.T) {
	analyze := require.Program(t, "systemd-analyze", "systemd")
	text, err := os.ReadFile("../cmd/genkan/dist/genkan.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := genkanBuilt()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "genkan.service")
	mustWrite(t, unit, strings.Replace(string(text), "/usr/local/sbin/genkan", program, 1))
	if out, err := exec.Command(analyze, "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// Tenths, as --threshold wants them: 2.5.
	out, err := exec.Command(analyze, "security", "--offline=yes", "--threshold=25", unit).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
