package tunnel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// Contents through the programs, TCP and UDP bursts, both ways, with each kind
// of peer, over a link that takes super-packets whole and over one that has to
// have them cut and puts them together again.
func TestEBPFContents(t *testing.T) {
	requireEBPF(t)
	for _, peer := range []string{tunnel.DatapathEBPF, tunnel.DatapathUserspace} {
		for _, wire := range []bool{false, true} {
			for _, mtu := range []int{1280, 1480} {
				t.Run(fmt.Sprintf("%s_wire=%v_%d", peer, wire, mtu), func(t *testing.T) {
					edge := tunnel.Config{Datapath: tunnel.DatapathEBPF, MTU: mtu, Expose: tunnel.ExposeAll}
					relay := edge
					relay.Datapath = peer
					p := tunneltest.NewPair(t, edge, relay)
					if wire {
						p.EdgeNS.LikeWire("up0")
						p.RelayNS.LikeWire("up0")
						p.ISP.LikeWire("edge0")
						p.ISP.LikeWire("relay0")
						p.Client.LikeWire("net0")
					}
					own := p.Edge.Address()
					t.Log("in", tunneltest.Transfer(t, p.Client, p.EdgeNS, own, 10<<20))
					t.Log("out", tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 10<<20))
					tunneltest.Segments(t, p.Client, p.EdgeNS, own, 1000, 20)
					tunneltest.Segments(t, p.EdgeNS, p.Client, p.ClientAddr, 1000, 20)
					st := p.Edge.Status()
					t.Log(st.Received, st.Sent, st.Drops)
					if n := throughDevice(t, p.EdgeNS, "tun6rd"); n > st.Sent.Packets/100+20 {
						t.Errorf("%d packets of %d came out of the TUN device, past the programs", n, st.Sent.Packets)
					}
				})
			}
		}
	}
}

// requireEBPF skips where the kernel is too old for the eBPF datapath; the VM of
// integration/kernel runs it in one that is not.
func requireEBPF(t *testing.T) {
	t.Helper()
	if !ebpfHere(t) {
		t.Skip("the kernel is older than 6.6")
	}
}

// ebpfHere reports whether the kernel is one for the eBPF datapath.
func ebpfHere(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 6
}

// userspaceAndEBPF are the datapaths that need no module, as far as they can be
// had here.
func userspaceAndEBPF(t *testing.T) []string {
	if !ebpfHere(t) {
		return []string{tunnel.DatapathUserspace}
	}
	return []string{tunnel.DatapathUserspace, tunnel.DatapathEBPF}
}

// throughDevice is how many packets the TUN device gave to its reader.
func throughDevice(t *testing.T, ns *tunneltest.NS, name string) (n uint64) {
	t.Helper()
	ns.Must(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			n = link.Attrs().Statistics.TxPackets
		}
		return err
	})
	return n
}

// TestEBPFRefuses: asked for by name, it says what is missing.
func TestEBPFRefuses(t *testing.T) {
	requireEBPF(t)
	for _, row := range []struct {
		name string
		cfg  tunnel.Config
		edit func(ns *tunneltest.NS)
		want string
	}{
		{"mtu", tunnel.Config{MTU: 1481}, nil, `the eBPF datapath with mtu 1481 needs an uplink of 1501; "up0" has 1500`},
		{"tun-uplink", tunnel.Config{}, func(ns *tunneltest.NS) {
			ns.Must(func() error {
				attrs := netlink.NewLinkAttrs()
				attrs.Name = "ppp0"
				tun := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN}
				if err := netlink.LinkAdd(tun); err != nil {
					return err
				}
				return errors.Join(netlink.LinkSetUp(tun), netlink.RouteReplace(&netlink.Route{
					LinkIndex: tun.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(198, 51, 100, 1), Mask: net.CIDRMask(32, 32)}}))
			})
		}, `eBPF needs an Ethernet uplink; "ppp0" is none`},
	} {
		t.Run(row.name, func(t *testing.T) {
			front, peer := tunneltest.NewNS(t), tunneltest.NewNS(t)
			tunneltest.Veth(front, "up0", netip.MustParsePrefix("192.0.2.10/24"), peer, "peer0", netip.MustParsePrefix("192.0.2.1/24"))
			front.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.1"))
			if row.edit != nil {
				row.edit(front)
			}
			row.cfg.Datapath, row.cfg.StateDir = tunnel.DatapathEBPF, t.TempDir()
			row.cfg.Prefix = netip.MustParsePrefix("2001:db8::/32")
			row.cfg.Relays = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
			row.cfg.Local = netip.MustParseAddr("192.0.2.10")
			before := front.Snapshot()
			front.Must(func() error {
				tun, err := tunnel.Up(context.Background(), row.cfg)
				if err == nil {
					return errors.Join(errors.New("up"), tun.Close())
				}
				if !strings.Contains(err.Error(), row.want) {
					t.Errorf("error %v\nwant %s", err, row.want)
				}
				return nil
			})
			if after := front.Snapshot(); after != before {
				t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// TestEBPFOtherInterface: an edge that is not behind the uplink is reached by
// the interface that it is behind.
func TestEBPFOtherInterface(t *testing.T) {
	requireEBPF(t)
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	p, cfg := pairWithoutEdge(t)
	side := tunneltest.NewNS(t)
	tunneltest.Veth(p.EdgeNS, "side0", prefix("192.0.2.1/24"), side, "up0", prefix("192.0.2.77/24"))
	side.Route(prefix("0.0.0.0/0"), addr("192.0.2.1"))
	edge := tunneltest.Start(t, p.EdgeNS, cfg)
	other := cfg
	other.Datapath, other.StateDir = tunnel.DatapathUserspace, t.TempDir()
	peer := tunneltest.Start(t, side, other)
	tunneltest.Transfer(t, p.EdgeNS, side, peer.Address(), 1<<20)
	tunneltest.Transfer(t, side, p.EdgeNS, edge.Address(), 1<<20)
	if n := throughDevice(t, p.EdgeNS, "tun6rd"); n < 10 {
		t.Errorf("%d packets left by the userspace datapath", n)
	}
}

// TestEBPFHeals: the programs are there again after the interface was deleted,
// and follow our IPv4 address.
func TestEBPFHeals(t *testing.T) {
	requireEBPF(t)
	cfg := tunnel.Config{Datapath: tunnel.DatapathEBPF, Expose: tunnel.ExposeAll}
	p := tunneltest.NewPair(t, cfg, tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll})
	whole(t, p, "before")
	deleteLink(p.EdgeNS, "tun6rd")
	whole(t, p, "deleted")
	old := p.Edge.Address()
	p.EdgeNS.Must(func() error {
		link, err := netlink.LinkByName("up0")
		if err != nil {
			return err
		}
		for _, c := range []struct {
			addr   string
			change func(netlink.Link, *netlink.Addr) error
		}{{"203.0.113.5/24", netlink.AddrDel}, {"203.0.113.6/24", netlink.AddrAdd}} { // the other way round both would go
			a, err := netlink.ParseAddr(c.addr)
			if err == nil {
				err = c.change(link, a)
			}
			if err != nil {
				return err
			}
		}
		dst := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		return netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: net.IPv4(203, 0, 113, 1)})
	})
	select {
	case <-p.Edge.Changes():
	case <-time.After(healed):
		t.Fatal("the address did not change")
	}
	if p.Edge.Address() == old {
		t.Fatalf("the address is still %v", old)
	}
	whole(t, p, "changed")
	tunneltest.Transfer(t, p.Client, p.EdgeNS, p.Edge.Address(), 4<<20)
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 4<<20)
	if n, sent := throughDevice(t, p.EdgeNS, "tun6rd"), p.Edge.Status().Sent.Packets; n > sent/10 {
		t.Errorf("%d packets of %d came out of the TUN device, past the programs", n, sent)
	}
}

// TestEBPFUplinkAgain: an uplink that was removed and made again, as container
// networks are, is another interface; the programs find it.
func TestEBPFUplinkAgain(t *testing.T) {
	requireEBPF(t)
	p, cfg := pairWithoutEdge(t)
	p.Edge = tunneltest.Start(t, p.EdgeNS, cfg)
	whole(t, p, "before")
	deleteLink(p.EdgeNS, "up0")
	prefix := netip.MustParsePrefix
	tunneltest.Veth(p.EdgeNS, "up0", prefix("203.0.113.5/24"), p.RelayNS, "up0", prefix("203.0.113.1/24"))
	whole(t, p, "after")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		before := throughDevice(t, p.EdgeNS, "tun6rd")
		tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)
		if n := throughDevice(t, p.EdgeNS, "tun6rd") - before; n < 10 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("all goes by user space, past the programs")
		}
	}
}

// TestPromiscuous: what a promiscuous uplink sees for another Ethernet address
// is not for us, whatever its IPv4 destination says.
func TestPromiscuous(t *testing.T) {
	for _, datapath := range userspaceAndEBPF(t) {
		t.Run(datapath, func(t *testing.T) {
			cfg := tunneltest.Configs()["A"]
			cfg.Datapath = datapath
			j := tunneltest.NewJudge(t, cfg)
			j.Front.Must(func() error {
				link, err := netlink.LinkByName("up0")
				if err != nil {
					return err
				}
				return netlink.SetPromiscOn(link)
			})
			other := tunneltest.NewWire(j.Peer, "peer0", []byte{2, 0, 0, 0, 0, 9})
			pkt := tunneltest.UDP(cfg.Relays[0], cfg.Local, netip.MustParseAddr("2606:4700::1"), j.Tunnel.Address(), "overheard")
			other.Send(pkt)
			if ids := j.Send(t); len(ids) != 0 {
				t.Errorf("delivered: %v", ids)
			}
			if n := j.Tunnel.Status().Received.Packets; n != 1 {
				t.Errorf("%d packets received, want the last one", n)
			}
			if ids := j.Send(t, pkt); len(ids) != 1 {
				t.Errorf("to our address: %v", ids)
			}
		})
	}
}

// TestDirectedBroadcast: no packet comes from the broadcast address of the
// uplink's network, though nobody wrote it there (RFC 4213 §3.6).
func TestDirectedBroadcast(t *testing.T) {
	for _, datapath := range userspaceAndEBPF(t) {
		cfg := tunneltest.Configs()["A"]
		cfg.Datapath = datapath
		j := tunneltest.NewJudge(t, cfg)
		src := netip.MustParseAddr("2001:db8:c000:2ff::1") // embeds it
		j.Send(t, tunneltest.UDP(netip.MustParseAddr("192.0.2.255"), cfg.Local, src, j.Tunnel.Address(), "broadcast"))
		if n := j.Tunnel.Status().Drops["outer-martian"]; n != 1 {
			t.Errorf("%s: %d outer martians", datapath, n)
		}
	}
}
