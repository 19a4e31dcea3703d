package tunnel_test

import (
	"testing"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// What is sent arrives, byte for byte: TCP and UDP_SEGMENT, from the ends and
// from behind them, whether packets cross the link whole or cut.
func TestContents(t *testing.T) {
	for _, datapath := range []string{tunnel.DatapathUserspace, tunnel.DatapathEBPF} {
		for _, links := range []tunneltest.Links{tunneltest.Offloads, tunneltest.WireLike} {
			t.Run(datapath+"/"+links.String(), func(t *testing.T) {
				if datapath == tunnel.DatapathEBPF {
					requireEBPF(t)
				}
				s := tunneltest.NewSite(t, datapath, links)
				s.CheckContents(t, 4<<20)
				t.Log(s.Edge.Status().Drops, s.Relay.Status().Drops)
				// The link is what it is called: only there does the datapath that
				// keeps super-packets send larger ones than the link's MTU.
				mean := s.MeanSize(t, 4<<20)
				if whole := mean > 1514; whole != (datapath == tunnel.DatapathEBPF && links == tunneltest.Offloads) {
					t.Errorf("packets of %.0f bytes in the mean", mean)
				}
			})
		}
	}
}

// A relay whose own IPv4 address has not the bits that its edges share.
func TestRelayBesideDomain(t *testing.T) {
	for _, datapath := range []string{tunnel.DatapathUserspace, tunnel.DatapathEBPF} {
		t.Run(datapath, func(t *testing.T) {
			if datapath == tunnel.DatapathEBPF {
				requireEBPF(t)
			}
			tunneltest.NewBeside(t, datapath).CheckBeside(t)
		})
	}
}
