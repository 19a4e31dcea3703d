package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"genkan/integration/lab"
)

// doctorConfig has one forward of the tunnel, to a server that listens in the lab's backend.
const doctorConfig = `[tunnel]
prefix = "2001:e41::/32"
relays = ["198.51.100.1"]

[forward.web]
listen = "tunnel:8080"
to = "10.0.0.10:8080"
`

// diagnoses runs the doctor on the front and returns what it finds, without what depends on the machine below.
func (h *host) diagnoses(t *testing.T) map[string]diagnosis {
	t.Helper()
	out := h.genkan(t, "doctor", "--json", "-c", h.ConfigFile(h.Front))
	if i := strings.IndexByte(out, '{'); i > 0 {
		out = out[i:]
	}
	var all struct{ Findings []diagnosis }
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	byCheck := make(map[string]diagnosis)
	for _, d := range all.Findings {
		if worse, is := byCheck[d.Check]; !is || worse.Severity != "bad" {
			byCheck[d.Check] = d
		}
	}
	return byCheck
}

func checkSeverity(t *testing.T, all map[string]diagnosis, check, want string) {
	t.Helper()
	d := all[check]
	if d.Severity != want {
		t.Errorf("%s is %q, want %q: %+v", check, d.Severity, want, d)
	}
	if want == "bad" && (d.Why == "" || d.Fix == "") {
		t.Errorf("%s has no cause or no fix: %+v", check, d)
	}
}

func startDaemon(t *testing.T, h *host, n *lab.Namespace, config string) *lab.Daemon {
	t.Helper()
	d, err := h.Genkan(n, h.program, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(patience) })
	if err := d.WaitReady(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	return d
}

// mustListen is a server in a namespace: the kernel takes its connections, and nobody answers.
func mustListen(t *testing.T, n *lab.Namespace, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// On a host where all is well nothing is bad; each fault that is made is found, with its cause and the fix.
func TestDoctor(t *testing.T) {
	h := mustHost(t)
	relay := startDaemon(t, h, h.Relay, lab.RelayConfig)
	startDaemon(t, h, h.Front, doctorConfig)
	server := mustListen(t, h.Backend, "10.0.0.10:8080")

	all := h.diagnoses(t)
	for check, d := range all {
		if d.Severity == "bad" {
			t.Errorf("%s is bad on a host where all is well: %+v", check, d)
		}
	}
	for _, check := range []string{"kernel", "uplink", "firewall", "relay", "address", "route", "sending", "ports", "backend"} {
		checkSeverity(t, all, check, "ok")
	}

	server.Close()
	checkSeverity(t, h.diagnoses(t), "backend", "bad")

	if err := relay.Stop(patience); err != nil {
		t.Fatal(err)
	}
	checkSeverity(t, h.diagnoses(t), "relay", "bad")

	h.drop(t, "output")
	all = h.diagnoses(t)
	checkSeverity(t, all, "sending", "bad")
	checkSeverity(t, all, "firewall", "warn")
}
