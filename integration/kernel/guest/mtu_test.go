package guest

import (
	"fmt"
	"net/netip"
	"testing"

	"genkan/integration/lab"
	"genkan/tunnel"
)

// No black hole: a hop of the IPv4 path that is smaller than the tunnel's
// packets, at either end's side, with ICMP and with all of it filtered.
func TestSmallHops(t *testing.T) {
	for _, dp := range datapaths(t) {
		for _, hop := range []struct {
			link string
			mtu  int
		}{{"front0", 1400}, {"front0", 1280}, {"relay0", 1280}} {
			for _, filtered := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s-%s-%d-filtered-%v", dp, hop.link, hop.mtu, filtered), func(t *testing.T) {
					l := mustLab(t)
					mustHop(t, l, hop.link, hop.mtu)
					if filtered {
						if err := l.ISP.DropICMP(); err != nil {
							t.Fatal(err)
						}
					}
					ec, rc := edge(), relay()
					ec.Datapath, rc.Datapath = dp, dp
					mustUp(t, l.Relay, rc)
					mustUp(t, l.Front, ec)
					checkTCP(t, l)
				})
			}
		}
	}
}

// With a tunnel of 1480 the edge learns of the smaller hop by ICMPv4.
func TestPacketTooBig(t *testing.T) {
	for _, dp := range datapaths(t) {
		t.Run(dp, func(t *testing.T) {
			l := mustLab(t)
			mustHop(t, l, "relay0", 1400)
			ec, rc := edge(), relay()
			ec.Datapath, rc.Datapath = dp, tunnel.DatapathUserspace
			ec.MTU, rc.MTU = 1480, 1380
			mustUp(t, l.Relay, rc)
			mustUp(t, l.Front, ec)
			checkTCP(t, l)
		})
	}
}

// mustHop narrows the ISP's hop to the front or to the relay.
func mustHop(t *testing.T, l *lab.Lab, link string, mtu int) {
	t.Helper()
	end := lab.FrontV4
	if link == "relay0" {
		end = lab.RelayV4
	}
	if err := l.ISP.SetHop(link, netip.PrefixFrom(end, 24), mtu); err != nil {
		t.Fatal(err)
	}
}
