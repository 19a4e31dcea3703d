package tunneltest

import (
	"net/netip"
	"testing"

	"genkan/tunnel"
)

// A Pair is a customer edge and its border relay, with an IPv4 router between
// them and an IPv6 client behind the relay:
//
//	edge 203.0.113.5 ── isp ── 198.51.100.1 relay ── client 2606:4700::2
type Pair struct {
	EdgeNS, ISP, RelayNS, Client *NS
	Edge, Relay                  *tunnel.Tunnel
	StopEdge                     func() // ends Edge before the test does
	ClientAddr                   netip.Addr
}

// NewPair brings both ends up. The configurations' Datapath, MTU, Expose and
// Interface are taken as they are given; the rest is the topology's.
func NewPair(tb testing.TB, edge, relay tunnel.Config) *Pair {
	tb.Helper()
	p := &Pair{EdgeNS: NewNS(tb), ISP: NewNS(tb), RelayNS: NewNS(tb), Client: NewNS(tb), ClientAddr: netip.MustParseAddr("2606:4700::2")}
	Veth(p.EdgeNS, "up0", netip.MustParsePrefix("203.0.113.5/24"), p.ISP, "edge0", netip.MustParsePrefix("203.0.113.1/24"))
	Veth(p.RelayNS, "up0", netip.MustParsePrefix("198.51.100.1/24"), p.ISP, "relay0", netip.MustParsePrefix("198.51.100.2/24"))
	Veth(p.RelayNS, "net0", netip.MustParsePrefix("2606:4700::1/64"), p.Client, "net0", netip.PrefixFrom(p.ClientAddr, 64))
	p.ISP.Sysctl("net/ipv4/ip_forward", "1")
	p.EdgeNS.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1"))
	p.RelayNS.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("198.51.100.2"))
	p.Client.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2606:4700::1"))

	edge.Prefix = netip.MustParsePrefix("2001:e41::/32")
	edge.Relays = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	relay.Prefix, relay.Role = edge.Prefix, tunnel.RoleRelay
	relay.Local = edge.Relays[0]
	p.Edge, p.StopEdge = StartStop(tb, p.EdgeNS, edge)
	p.Relay = Start(tb, p.RelayNS, relay)
	return p
}
