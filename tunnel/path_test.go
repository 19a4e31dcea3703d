package tunnel_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// narrow makes both networks of the IPv4 router narrower for what it forwards:
// too large packets are refused or fragmented there. (A smaller MTU of its
// interfaces would have veth drop what comes in, too.)
func narrow(p *tunneltest.Pair, mtu int) {
	for name, prefix := range map[string]string{"edge0": "203.0.113.0/24", "relay0": "198.51.100.0/24"} {
		p.ISP.Must(func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			dst, err := netlink.ParseIPNet(prefix)
			if err != nil {
				return err
			}
			return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK,
				Protocol: unix.RTPROT_KERNEL, Src: linkAddr(link), MTU: mtu})
		})
	}
}

func linkAddr(link netlink.Link) net.IP {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addrs) == 0 {
		return nil
	}
	return addrs[0].IP
}

// No black hole: 10 MB each way, whatever the path carries, as long as ICMP
// comes through or the tunnel's MTU is 1280.
func TestNarrowPaths(t *testing.T) {
	for _, datapath := range userspaceAndEBPF(t) {
		for _, row := range []struct {
			tunnelMTU, pathMTU int
		}{{1280, 1400}, {1280, 1280}, {1480, 1400}, {1480, 1280}} {
			t.Run(fmt.Sprintf("%s_mtu%d_path%d", datapath, row.tunnelMTU, row.pathMTU), func(t *testing.T) {
				cfg := tunnel.Config{Datapath: datapath, MTU: row.tunnelMTU, Expose: tunnel.ExposeAll}
				p := tunneltest.NewPair(t, cfg, cfg)
				narrow(p, row.pathMTU)
				tunneltest.Transfer(t, p.Client, p.EdgeNS, p.Edge.Address(), 10<<20)
				tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 10<<20)
				t.Log(p.Edge.Status().Drops, p.Relay.Status().Drops)
			})
		}
	}
}

// An unreachable tunnel end is told to the inner sender, rather than left to
// his patience.
func TestUnreachableIsRelayed(t *testing.T) {
	p := pair(t)
	var err error
	p.EdgeNS.Do(func() {
		// In the 6rd domain, behind 192.0.2.1, to which the ISP has no route.
		var c net.Conn
		if c, err = net.DialTimeout("tcp", "[2001:e41:c000:201::1]:80", tunneltest.TransferTimeout); err == nil {
			c.Close()
		}
	})
	if got, want := errText(err), "dial tcp [2001:e41:c000:201::1]:80: connect: no route to host"; got != want {
		t.Errorf("error %s, want %s", got, want)
	}
}
