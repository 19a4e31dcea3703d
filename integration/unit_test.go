package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// The capabilities of the systemd unit are enough to serve by both families,
// and to take everything back.
func TestUnitCapabilities(t *testing.T) {
	setpriv := require.Program(t, "setpriv", "util-linux")
	unit, err := os.ReadFile("../cmd/genkan/dist/genkan.service")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(unit), "\nCapabilityBoundingSet=")
	line, _, _ := strings.Cut(rest, "\n")
	set := "-all"
	for _, c := range strings.Fields(line) {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	before := mustSnapshot(t, w.Front)
	mustWrite(t, w.ConfigFile(w.Front), loadConfig(0))
	cmd, err := w.Private(w.Front, setpriv, "--bounding-set", set, "--no-new-privs", w.program, "run", "-c", w.ConfigFile(w.Front))
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	for _, c := range clients[:2] {
		client := w.httpClient(c.addr, false)
		waitUntil(t, patience, "answer to "+c.name, func() error {
			select {
			case <-p.Done():
				t.Fatalf("genkan ended (%v) with %s; it wrote:\n%s", p.Err(), line, p.Output())
			default:
			}
			return ask(t.Context(), client, "http://"+c.to+"/")
		})
	}
	// The same datapath as with all capabilities: a missing one would show as
	// another choice.
	for _, word := range []string{"ebpf", "kernel"} {
		if logHas(p.Output(), "passed over", fmt.Sprintf(`"datapath":%q`, word), "CAP_") {
			t.Errorf("a capability is missing in the unit:\n%s", p.Output())
		}
	}
	if err := p.Stop(patience); err != nil {
		t.Errorf("exit after SIGTERM: %v\n%s", err, p.Output())
	}
	checkUntouched(t, w.Front, before, "after SIGTERM")
}
