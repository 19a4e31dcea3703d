package tunnel_test

import (
	"testing"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// Contents, not pings: a ping does not notice an inner checksum that was left
// for the card to fill in.
func TestTransferThroughRelay(t *testing.T) {
	for _, mtu := range []int{1280, 1480} {
		t.Run(mtuName(mtu), func(t *testing.T) {
			cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, MTU: mtu, Expose: tunnel.ExposeAll}
			p := tunneltest.NewPair(t, cfg, cfg)
			own := p.Edge.Address()
			t.Log("in", tunneltest.Transfer(t, p.Client, p.EdgeNS, own, 10<<20))
			t.Log("out", tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 10<<20))
			tunneltest.Segments(t, p.Client, p.EdgeNS, own, 1000, 20)
			tunneltest.Segments(t, p.EdgeNS, p.Client, p.ClientAddr, 1000, 20)
			t.Log(p.Edge.Status().Drops, p.Relay.Status().Drops)
		})
	}
}

func mtuName(mtu int) string {
	if mtu == 1280 {
		return "mtu1280"
	}
	return "mtu1480"
}
