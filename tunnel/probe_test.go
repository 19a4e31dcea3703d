package tunnel_test

import (
	"context"
	"net/netip"
	"testing"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// Packets to ourselves through the relay come back, up to what the path and
// the relay's own MTU carry, though all ICMP is lost.
func TestProbe(t *testing.T) {
	for _, row := range []struct{ path, relay, want int }{{1500, 1480, 1480}, {1400, 1480, 1380}, {1500, 1400, 1400}, {1280, 1480, 1260}} {
		cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll}
		relay := cfg
		relay.MTU = row.relay
		p := tunneltest.NewPair(t, cfg, relay)
		narrow(p, row.path)
		var got []tunnel.ProbeResult
		p.EdgeNS.Must(func() (err error) {
			got, err = tunnel.Probe(context.Background(), tunnel.Config{
				Prefix: netip.MustParsePrefix("2001:e41::/32"), Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1")},
			})
			return err
		})
		if len(got) != 1 || got[0].MTU != row.want || got[0].RTT == 0 {
			t.Errorf("path %d, relay's mtu %d: %+v, want mtu %d", row.path, row.relay, got, row.want)
		}
	}
}

func TestAutoMTU(t *testing.T) {
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll}
	relay := cfg
	relay.MTU = 1480
	p := tunneltest.NewPair(t, cfg, relay)
	narrow(p, 1400)
	p.StopEdge()
	cfg.MTU = tunnel.MTUAuto
	cfg.Prefix, cfg.Relays = netip.MustParsePrefix("2001:e41::/32"), []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	p.Edge = tunneltest.Start(t, p.EdgeNS, cfg)
	if got := p.Edge.Status().MTU; got != 1380 {
		t.Errorf("mtu %d, want 1380", got)
	}
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 10<<20)
	tunneltest.Transfer(t, p.Client, p.EdgeNS, p.Edge.Address(), 10<<20)
}
