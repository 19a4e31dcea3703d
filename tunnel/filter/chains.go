package filter

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

// Offsets in the IPv6, IPv4, and ICMPv6 headers.
const (
	src6, dst6, addr6 = 8, 24, 16
	src4, dst4, addr4 = 12, 16, 4
)

// foreign drops sources of our 6rd domain that come by another interface:
// there, nobody has compared them with an outer source, and rules such as
// "allow 6rd:…" trust them (RFC 5969 §12). Networks of ours behind this host
// have a route back, and pass.
func (b *builder) foreign() {
	c := b.chain("foreign", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	var strangers []expr.Any
	if b.has.fib {
		strangers = noRouteBack()
	}
	b.rule(c, "foreign-6rd",
		iif(expr.CmpOpNeq, b.cfg.Interface), iif(expr.CmpOpNeq, "lo"),
		prefix(expr.PayloadBaseNetworkHeader, src6, expr.CmpOpEq, b.cfg.Domain),
		strangers, drop())
}

// noRouteBack is true where the route back to the source does not lead out by
// the interface that the packet came by.
func noRouteBack() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagSADDR: true, FlagIIF: true, ResultOIF: true},
		compare(expr.CmpOpEq, make([]byte, 4)),
	}
}

// track keeps what goes to our listeners, and back, out of conntrack: a flood
// of strangers fills no table, and expose admits it by its port. That is for
// hosts where nobody else asks conntrack; see othersTrack.
func (b *builder) track(tcp, udp *nftables.Set) {
	in := b.chain("track", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	out := b.chain("track_out", nftables.ChainHookOutput, nftables.ChainPriorityRaw)
	for _, s := range []struct {
		proto byte
		set   *nftables.Set
	}{{unix.IPPROTO_TCP, tcp}, {unix.IPPROTO_UDP, udp}} {
		b.rule(in, "", iif(expr.CmpOpEq, b.cfg.Interface), l4(s.proto), port(dport, s.set), []expr.Any{&expr.Notrack{}})
		b.rule(out, "", oif(expr.CmpOpEq, b.cfg.Interface), l4(s.proto), port(sport, s.set), []expr.Any{&expr.Notrack{}})
	}
}

const (
	sport = 0
	dport = 2
)

func port(offset uint32, set *nftables.Set) []expr.Any {
	return []expr.Any{
		load(expr.PayloadBaseTransportHeader, offset, 2),
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// expose is DESIGN's "the tunnel opens nothing else".
func (b *builder) expose(tcp, udp *nftables.Set) {
	c := b.chain("expose", nftables.ChainHookInput, nftables.ChainPriorityFilter)
	b.rule(c, "", iif(expr.CmpOpNeq, b.cfg.Interface), accept())
	b.rule(c, "", l4(unix.IPPROTO_TCP), port(dport, tcp), accept())
	b.rule(c, "", l4(unix.IPPROTO_UDP), port(dport, udp), accept())
	b.replies(c)
	if !b.cfg.Domain.IsValid() {
		b.probes(c, expr.VerdictAccept)
	}
	b.rule(c, "not-exposed", drop())
}

// probes are those by which the other end of a 6in4 tunnel asks whether we are
// still there, and its answers to ours (RFC 4213 §3.8). Hop limit 255: no router
// has passed them on.
func (b *builder) probes(c *nftables.Chain, v expr.VerdictKind) {
	const solicitation, advertisement, hopLimit = 135, 136, 7
	for _, typ := range []byte{solicitation, advertisement} {
		b.rule(c, "", icmp6(expr.CmpOpEq, typ),
			[]expr.Any{load(expr.PayloadBaseNetworkHeader, hopLimit, 1), compare(expr.CmpOpEq, []byte{255}), &expr.Verdict{Kind: v}})
	}
}

// icmp6 compares the type of an ICMPv6 message.
func icmp6(op expr.CmpOp, typ byte) []expr.Any {
	return append(l4(unix.IPPROTO_ICMPV6), load(expr.PayloadBaseTransportHeader, 0, 1), compare(op, []byte{typ}))
}

// forward lets what our networks began come back, and nothing else in: a host
// that forwards, for containers perhaps, does not open those to the world.
func (b *builder) forward() {
	c := b.chain("forward", nftables.ChainHookForward, nftables.ChainPriorityFilter)
	b.rule(c, "", iif(expr.CmpOpNeq, b.cfg.Interface), accept())
	b.replies(c)
	b.rule(c, "not-exposed", drop())
}

// replies accepts ICMPv6 errors and echo (RFC 4890 §4.3.1) and answers to what
// this side began.
func (b *builder) replies(c *nftables.Chain) {
	for _, typ := range []byte{1, 2, 3, 4, 128, 129} {
		b.rule(c, "", icmp6(expr.CmpOpEq, typ), accept())
	}
	if b.has.ct {
		known := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
		b.rule(c, "", []expr.Any{
			&expr.Ct{Register: 1, Key: expr.CtKeySTATE}, mask(known), compare(expr.CmpOpNeq, make([]byte, 4)),
		}, accept())
		return
	}
	// Without conntrack: anything but the first packet of a connection.
	const flags, syn, ack, rst = 13, 0x02, 0x10, 0x04
	for _, bit := range []byte{ack, rst} {
		b.rule(c, "", l4(unix.IPPROTO_TCP),
			bits(expr.PayloadBaseTransportHeader, flags, expr.CmpOpEq, []byte{bit}, []byte{bit}), accept())
	}
}

// silent keeps the kernel from telling our peers that nobody is here.
func (b *builder) silent() {
	c := b.chain("silent", nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	const quoted = 8 // behind the ICMP header
	b.rule(c, "", l4(unix.IPPROTO_ICMP),
		[]expr.Any{load(expr.PayloadBaseTransportHeader, 0, 2), compare(expr.CmpOpEq, []byte{3, 3})},
		[]expr.Any{load(expr.PayloadBaseTransportHeader, quoted+9, 1), compare(expr.CmpOpEq, []byte{unix.IPPROTO_IPV6})},
		prefix(expr.PayloadBaseTransportHeader, quoted+dst4, expr.CmpOpEq, netip.PrefixFrom(b.cfg.Silent, 32)), drop())
}

// outside drops what the kernel's sit would take in (facts: it asks nobody
// whether a packet from outside of the 6rd domain came by a relay).
func (b *builder) outside() {
	k := b.cfg.Kernel
	c := b.chain("outside", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	ours := join(
		[]expr.Any{load(expr.PayloadBaseNetworkHeader, 9, 1), compare(expr.CmpOpEq, []byte{unix.IPPROTO_IPV6})},
		prefix(expr.PayloadBaseNetworkHeader, dst4, expr.CmpOpEq, netip.PrefixFrom(k.Local, 32)))
	if b.has.ct {
		// Asking conntrack for anything has the kernel put fragments together
		// before this chain; what it would track, it need not.
		b.rule(c, "", ours, []expr.Any{&expr.Ct{Register: 1, Key: expr.CtKeySTATE}, &expr.Notrack{}})
	}
	for _, r := range k.Rules {
		if r.Field == ingress.OuterSrc {
			for _, in := range r.In {
				b.rule(c, r.Reason.String(), ours, prefix(expr.PayloadBaseNetworkHeader, src4, expr.CmpOpEq, in.Prefix4()),
					except(r.Except), drop())
			}
		}
	}
	if k.Strict && b.has.fib {
		b.rule(c, "other-interface", ours, noRouteBack(), drop())
	}
	var stranger []expr.Any
	for _, relay := range k.Relays {
		stranger = append(stranger, prefix(expr.PayloadBaseNetworkHeader, src4, expr.CmpOpNeq, netip.PrefixFrom(relay, 32))...)
	}
	// A fragment after the first has no inner header to look at: only the
	// relays, who are trusted with it, may send some.
	b.rule(c, "fragment", ours, stranger,
		bits(expr.PayloadBaseNetworkHeader, 6, expr.CmpOpNeq, []byte{0, 0}, []byte{0x3f, 0xff}), drop())
	if k.Domain.IsValid() {
		// The transport header of protocol 41 is the inner IPv6 header.
		b.rule(c, ingress.NotRelay.String(), ours, stranger,
			prefix(expr.PayloadBaseTransportHeader, src6, expr.CmpOpNeq, k.Domain), drop())
	}
	// What is not IPv6 inside never reaches a rule on the tunnel interface. A
	// later fragment has no version.
	b.rule(c, ingress.BadVersion.String(), ours,
		bits(expr.PayloadBaseNetworkHeader, 6, expr.CmpOpEq, []byte{0, 0}, []byte{0x1f, 0xff}),
		bits(expr.PayloadBaseTransportHeader, 0, expr.CmpOpNeq, []byte{0x60}, []byte{0xf0}), drop())
}

// split clears the DF that a sit device with a fixed TTL always sets: where the
// tunnel's own MTU is the least that IPv6 allows, no router's ICMP could make
// its packets smaller (RFC 4213 §3.2.1).
func (b *builder) split() {
	const flags, sum = 6, 10
	c := b.chain("split", nftables.ChainHookOutput, nftables.ChainPriorityMangle)
	b.rule(c, "",
		[]expr.Any{load(expr.PayloadBaseNetworkHeader, 9, 1), compare(expr.CmpOpEq, []byte{unix.IPPROTO_IPV6})},
		prefix(expr.PayloadBaseNetworkHeader, src4, expr.CmpOpEq, netip.PrefixFrom(b.cfg.Kernel.Local, 32)),
		[]expr.Any{
			load(expr.PayloadBaseNetworkHeader, flags, 2),
			mask([]byte{0xbf, 0xff}),
			&expr.Payload{
				OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader,
				Offset: flags, Len: 2, CsumType: expr.CsumTypeInet, CsumOffset: sum,
			},
		})
}

// except adds "and none of these" to a rule on the outer source.
func except(ps []ingress.Pattern) []expr.Any {
	var out []expr.Any
	for _, p := range ps {
		out = append(out, prefix(expr.PayloadBaseNetworkHeader, src4, expr.CmpOpNeq, p.Prefix4())...)
	}
	return out
}

// inside makes the checks on inner addresses once sit has decapsulated. The
// table's rules that compare addresses with each other are not here: sit
// compares the embedded address itself, and a source equal to its destination
// is either not ours to receive or not another's to send.
func (b *builder) inside() {
	k := b.cfg.Kernel
	// What comes by other interfaces meets one rule only.
	c := b.conn.AddChain(&nftables.Chain{Name: "checks", Table: b.table})
	b.rule(b.chain("inside", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw), "",
		iif(expr.CmpOpEq, b.cfg.Interface), []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: c.Name}})
	for _, r := range k.Rules {
		if r.When != ingress.Always || len(r.Trusted) > 0 || r.Field != ingress.InnerSrc && r.Field != ingress.InnerDst {
			continue
		}
		offset := uint32(src6)
		if r.Field == ingress.InnerDst {
			offset = dst6
		}
		var not []expr.Any
		for _, p := range r.Except {
			not = append(not, pattern(offset, expr.CmpOpNeq, p)...)
		}
		for _, p := range r.In {
			b.rule(c, r.Reason.String(), pattern(offset, expr.CmpOpEq, p), not, drop())
		}
	}
	b.insidePayload(c)
}

// insidePayload makes the checks on what follows the addresses.
func (b *builder) insidePayload(c *nftables.Chain) {
	routing := func(offset uint32, op expr.CmpOp) []expr.Any {
		return []expr.Any{
			&expr.Exthdr{DestRegister: 1, Type: unix.IPPROTO_ROUTING, Offset: offset, Len: 1, Op: expr.ExthdrOpIpv6},
			compare(op, []byte{0}),
		}
	}
	mtu := make([]byte, 4)
	binary.BigEndian.PutUint32(mtu, uint32(b.cfg.Kernel.MTU))
	bounds := []expr.Any{compare(expr.CmpOpLt, []byte{0, 0, 5, 0}), compare(expr.CmpOpGt, mtu)}
	var typ []expr.Any
	if b.cfg.Kernel.Out.Kind == ingress.Relay { // it forwards what only the receiver has to refuse
		bounds, typ = bounds[:1], routing(2, expr.CmpOpEq)
	}
	for _, bound := range bounds {
		b.rule(c, ingress.PacketTooBig.String(), icmp6(expr.CmpOpEq, 2),
			[]expr.Any{load(expr.PayloadBaseTransportHeader, 4, 4), bound}, drop())
	}
	// RFC 5095, RFC 8754: the routing header's segments left.
	b.rule(c, ingress.RoutingHeader.String(), typ, routing(3, expr.CmpOpNeq), drop())
	if b.cfg.Kernel.Out.Kind == ingress.Configured {
		b.probes(c, expr.VerdictReturn)
	}
	for _, r := range ingress.LinkOnly() {
		b.rule(c, ingress.NeighborDiscovery.String(), icmp6(expr.CmpOpGte, r[0]), icmp6(expr.CmpOpLte, r[1])[2:], drop())
	}
}

// leaving drops what must not go out by sit, or what the other end would drop
// (RFC 5969 §12).
func (b *builder) leaving() {
	out := b.cfg.Kernel.Out
	c := b.conn.AddChain(&nftables.Chain{Name: "egress", Table: b.table})
	b.rule(b.chain("leaving", nftables.ChainHookPostrouting, nftables.ChainPriorityFilter), "",
		oif(expr.CmpOpEq, b.cfg.Interface), []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: c.Name}})
	for _, offset := range []uint32{src6, dst6} {
		for _, p := range out.Silent {
			b.rule(c, ingress.EgressMartian.String(), pattern(offset, expr.CmpOpEq, p), drop())
		}
	}
	if out.Kind == ingress.Relay {
		return
	}
	var foreign []expr.Any
	for _, p := range out.Own {
		foreign = append(foreign, pattern(src6, expr.CmpOpNeq, p)...)
	}
	b.rule(c, ingress.EgressSource.String(), foreign, drop())
}

// pattern compares an inner address with a pattern of the ingress table.
func pattern(offset uint32, op expr.CmpOp, p ingress.Pattern) []expr.Any {
	var value, m [addr6]byte
	binary.BigEndian.PutUint64(value[:], p.Hi)
	binary.BigEndian.PutUint64(value[8:], p.Lo)
	binary.BigEndian.PutUint64(m[:], p.HiMask)
	binary.BigEndian.PutUint64(m[8:], p.LoMask)
	return bits(expr.PayloadBaseNetworkHeader, offset, op, value[:], m[:])
}
