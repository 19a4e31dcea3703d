package guest

import (
	"testing"

	"genkan/tunnel/tunneltest"
)

// What is sent arrives, byte for byte: TCP and UDP_SEGMENT, from the ends and
// from behind them, whether packets cross the link whole or cut.
func TestContents(t *testing.T) {
	for _, datapath := range datapaths(t) {
		for _, links := range []tunneltest.Links{tunneltest.Offloads, tunneltest.WireLike} {
			t.Run(datapath+"-"+links.String(), func(t *testing.T) {
				tunneltest.NewSite(t, datapath, links).CheckContents(t, 1<<20)
			})
		}
	}
}

// A relay whose own IPv4 address has not the bits that its edges share.
func TestRelayBesideDomain(t *testing.T) {
	for _, datapath := range datapaths(t) {
		t.Run(datapath, func(t *testing.T) { tunneltest.NewBeside(t, datapath).CheckBeside(t) })
	}
}
