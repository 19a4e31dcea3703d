package tunnel_test

import (
	"net/netip"
	"testing"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// A container behind another interface that claims to be the relay is not
// believed; an edge that is behind that interface is.
func TestRelaySpoofedByOtherInterface(t *testing.T) {
	addr := netip.MustParseAddr
	cfg := tunneltest.Configs()["A"]
	cfg.Datapath = tunnel.DatapathUserspace
	j := tunneltest.NewJudge(t, cfg)
	container := tunneltest.NewNS(t)
	tunneltest.Veth(j.Front, "docker0", netip.MustParsePrefix("172.17.0.1/24"), container, "eth0", netip.MustParsePrefix("172.17.0.2/24"))
	wire := tunneltest.NewWire(container, "eth0", j.Front.HardwareAddr("docker0"))

	own := j.Tunnel.Address()
	wire.Send(tunneltest.UDP(cfg.Relays[0], cfg.Local, addr("2606:4700::1"), own, "spoofed"))
	wire.Send(tunneltest.UDP(addr("172.17.0.2"), cfg.Local, addr("2001:db8:ac11:2::1"), own, "neighbour"))
	got := map[string]bool{}
	for !got["neighbour"] && !t.Failed() { // each Send ends with a packet by the uplink
		for _, id := range j.Send(t) {
			got[id] = true
		}
	}
	if got["spoofed"] {
		t.Error("a packet with the relay's address is let in by a container's interface")
	}
	if n := j.Tunnel.Status().Drops["other-interface"]; n != 1 {
		t.Errorf("other-interface counted %d, want 1; drops %v", n, j.Tunnel.Status().Drops)
	}
}
