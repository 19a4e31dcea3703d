package tunnel_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// Of several relays one that answers is taken, and another when it stops.
func TestRelayFailover(t *testing.T) {
	t.Parallel()
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll}
	p := tunneltest.NewPair(t, cfg, cfg)
	// Another relay at 192.0.2.1, with another link to the ISP.
	second := tunneltest.NewNS(t)
	tunneltest.Veth(second, "up0", netip.MustParsePrefix("192.0.2.1/24"), p.ISP, "relay1", netip.MustParsePrefix("192.0.2.2/24"))
	second.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.2"))
	relay := cfg
	relay.Role, relay.Prefix, relay.Local = tunnel.RoleRelay, netip.MustParsePrefix("2001:e41::/32"), netip.MustParseAddr("192.0.2.1")
	tunneltest.Start(t, second, relay)

	p.StopEdge()
	cfg.Prefix = relay.Prefix
	dead, first, other := netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")
	cfg.Relays = []netip.Addr{dead, first}
	edge, stop := tunneltest.StartStop(t, p.EdgeNS, cfg)
	if got := edge.Status().Relay; got != first {
		t.Errorf("relay %s, want %s: the other one is dead", got, first)
	}
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)
	stop()

	cfg.Relays = []netip.Addr{other, first}
	edge = tunneltest.Start(t, p.EdgeNS, cfg)
	gone, link := other, "relay1"
	if edge.Status().Relay == first {
		gone, link = first, "relay0"
	}
	p.ISP.Must(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
	begun := time.Now()
	for edge.Status().Relay == gone {
		if time.Since(begun) > tunneltest.TransferTimeout {
			t.Fatalf("relay %s in use though it is gone", gone)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Log("another relay after", time.Since(begun).Round(time.Millisecond))
}
