package tunneltest

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"genkan/tunnel"
)

// A Links is how the links of a path treat large packets.
type Links bool

// The kinds of links.
const (
	Offloads Links = false // a packet of up to 64 KiB crosses whole
	WireLike Links = true  // it is cut before the link and merged after it
)

func (l Links) String() string {
	if l == WireLike {
		return "wire-like"
	}
	return "offloads"
}

// A Site is a Pair with a host in the edge's delegated prefix, and links of one
// kind:
//
//	host ── edge ── isp ── relay ── client
type Site struct {
	*Pair
	Host     *NS
	HostAddr netip.Addr
}

// NewSite brings a Site up, with one datapath at both ends.
func NewSite(tb testing.TB, datapath string, links Links) *Site {
	tb.Helper()
	cfg := tunnel.Config{Datapath: datapath, MTU: 1280, Expose: tunnel.ExposeAll}
	s := &Site{Pair: NewPair(tb, cfg, cfg), Host: NewNS(tb)}
	lan := s.Edge.Delegated()
	gateway := lan.Addr().Next().Next() // the first one is on the tunnel
	s.HostAddr = gateway.Next()
	Veth(s.EdgeNS, "lan0", netip.PrefixFrom(gateway, lan.Bits()), s.Host, "lan0", netip.PrefixFrom(s.HostAddr, lan.Bits()))
	s.EdgeNS.Sysctl("net/ipv6/conf/all/forwarding", "1")
	s.Host.Route(netip.MustParsePrefix("::/0"), gateway)
	if links == WireLike {
		for _, end := range []struct {
			ns   *NS
			name string
		}{
			{s.Host, "lan0"}, {s.EdgeNS, "lan0"}, {s.EdgeNS, "up0"}, {s.ISP, "edge0"},
			{s.ISP, "relay0"}, {s.RelayNS, "up0"}, {s.RelayNS, "net0"}, {s.Client, "net0"},
		} {
			end.ns.LikeWire(end.name)
		}
	}
	return s
}

// NewBeside brings up a Pair whose edges share eight IPv4 bits that the relay's
// own address has not.
func NewBeside(tb testing.TB, datapath string) *Pair {
	tb.Helper()
	edge := tunnel.Config{Datapath: datapath, IPv4MaskLen: 8, Expose: tunnel.ExposeAll}
	relay := edge
	relay.IPv4Common = netip.MustParsePrefix("203.0.0.0/8")
	relay.Address = netip.MustParsePrefix("2001:db8::53/128")
	return NewPair(tb, edge, relay)
}

// CheckBeside sends a stream each way through such a pair, to and from the
// relay's address too.
func (p *Pair) CheckBeside(tb testing.TB) {
	tb.Helper()
	if got, want := p.Edge.Delegated().String(), "2001:e41:71:500::/56"; got != want {
		tb.Errorf("delegated %s, want %s", got, want)
	}
	if got := p.Relay.Delegated(); got.IsValid() {
		tb.Errorf("the relay has %s, which embeds an address outside of the domain", got)
	}
	own := p.Edge.Address()
	Transfer(tb, p.Client, p.EdgeNS, own, 1<<20)
	Transfer(tb, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)
	Transfer(tb, p.RelayNS, p.EdgeNS, own, 1<<20)
	Transfer(tb, p.EdgeNS, p.RelayNS, p.Relay.Address(), 1<<20)
}

// CheckContents sends a TCP stream of size bytes and bursts by UDP_SEGMENT each
// way through the tunnel, between its ends and between hosts behind them, and
// compares what arrives. A ping would not notice an inner checksum that was left
// for the card to fill in, nor a super-packet that was cut wrongly.
func (s *Site) CheckContents(tb testing.TB, size int) {
	tb.Helper()
	own := s.Edge.Address()
	for _, way := range []struct {
		from, to *NS
		addr     netip.Addr
	}{
		{s.EdgeNS, s.RelayNS, s.Relay.Address()},
		{s.RelayNS, s.EdgeNS, own},
		{s.Host, s.Client, s.ClientAddr},
		{s.Client, s.Host, s.HostAddr},
	} {
		Transfer(tb, way.from, way.to, way.addr, size)
		Segments(tb, way.from, way.to, way.addr, 1000, 20)
	}
}

// MeanSize is the mean size of the packets that a transfer of size bytes from
// host to client puts on the link of the edge.
func (s *Site) MeanSize(tb testing.TB, size int) float64 {
	tb.Helper()
	packets, bytes := s.ISP.received("edge0")
	Transfer(tb, s.Host, s.Client, s.ClientAddr, size)
	p, b := s.ISP.received("edge0")
	return float64(b-bytes) / float64(p-packets)
}

func (n *NS) received(name string) (packets, bytes uint64) {
	n.tb.Helper()
	n.Must(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			packets, bytes = link.Attrs().Statistics.RxPackets, link.Attrs().Statistics.RxBytes
		}
		return err
	})
	return packets, bytes
}
