package icmp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"genkan/tunnel/ingress"
)

// A Translator turns reports into ICMPv6 errors. It is not safe for concurrent
// use, because of its Limiter.
type Translator struct {
	// Check is the tunnel's; nil believes nothing.
	Check *ingress.Checker
	// Source is the IPv6 address that the errors come from: ours.
	Source netip.Addr
	// Limit bounds the answers; nil gives none.
	Limit *Limiter
}

// An Answer is what a report came to.
type Answer struct {
	// MTU is what the path to the report's outer destination carries of an
	// inner packet, 1280 at least; 0: nothing was learnt.
	MTU int
	// Fragment says that the IPv4 path is narrower than an inner packet of 1280
	// bytes needs: packets to that destination must go without DF (RFC 4213
	// §3.2.2, RFC 5969 §9.1).
	Fragment bool
	// Packet is the ICMPv6 error for the inner sender, appended to the buffer
	// that was given; empty: none.
	Packet []byte
}

// Answer judges a report and answers it in buf[:0]. Pass means that the report
// was believed, also where nothing can be said to the inner sender since too
// little of his packet is quoted.
func (t *Translator) Answer(buf []byte, rep Report, now time.Time) (Answer, ingress.Reason) {
	a, typ, code, r := t.judge(rep)
	if r != ingress.Pass || typ == 0 {
		return a, r
	}
	if !t.Limit.Allow([16]byte(rep.Inner[8:24]), now) {
		return a, ingress.ICMPLimited
	}
	param := uint32(0)
	if typ == TypePacketTooBig {
		param = uint32(a.MTU)
	}
	a.Packet = AppendError(buf[:0], t.Source, typ, code, param, rep.Inner)
	return a, ingress.Pass
}

// judge says what a report means; type 0 means no ICMPv6 error.
func (t *Translator) judge(rep Report) (a Answer, typ, code byte, r ingress.Reason) {
	if t.Check == nil {
		return a, 0, 0, ingress.Unchecked
	}
	// RFC 5927: whoever forges a report must know what we send, and where.
	whole := len(rep.Inner) >= ipv6Len
	if whole {
		dst, r := t.Check.EgressHeader(rep.Inner)
		if r != ingress.Pass || dst != rep.Destination {
			return a, 0, 0, ingress.ICMPForeign
		}
	} else if !t.Check.SendsTo(rep.Destination) {
		return a, 0, 0, ingress.ICMPForeign
	}
	typ, code = meaning(rep.Type, rep.Code)
	if typ == 0 {
		return a, 0, 0, ingress.ICMPIgnored
	}
	if typ == TypePacketTooBig {
		mtu := pathMTU(rep)
		if mtu == 0 {
			return a, 0, 0, ingress.PacketTooBig
		}
		a.MTU, a.Fragment = max(mtu-ipv4Len, minMTU), mtu-ipv4Len < minMTU
		// An inner packet that IPv6 guarantees to pass is fragmented outside
		// from now on; its sender cannot do anything about it.
		if whole && ipv6Len+int(binary.BigEndian.Uint16(rep.Inner[4:])) <= a.MTU {
			return a, 0, 0, ingress.Pass
		}
	}
	if !whole {
		return a, 0, 0, ingress.Pass
	}
	return a, typ, code, ingress.Pass
}

// meaning is the ICMPv6 error for an ICMPv4 type and code; type 0: none. An
// unreachable endpoint makes the inner destination's address unreachable (RFC
// 4213 §3.4, RFC 2473 §8.3); what a filter forbids stays so (RFC 7915 §4.2).
func meaning(typ, code byte) (typ6, code6 byte) {
	if typ == type4TimeExceeded && code == 0 {
		return TypeTimeExceeded, 0
	}
	if typ != type4Unreachable {
		return 0, 0
	}
	switch code {
	case code4FragNeeded:
		return TypePacketTooBig, 0
	case 9, 10, 13:
		return TypeUnreachable, CodeProhibited
	case 0, 1, 2, 3, 5, 6, 7, 8, 11, 12:
		return TypeUnreachable, CodeAddressUnreachable
	}
	return 0, 0
}

// pathMTU is the MTU that a fragmentation-needed means: the router's word, or
// for old routers the next plateau below the packet (RFC 1191 §5, §7.1). 0: it
// cannot be true, since the packet fitted (RFC 5927 §7.2).
func pathMTU(rep Report) int {
	const minIPv4 = 68
	switch mtu := rep.MTU; {
	case mtu >= minIPv4 && (rep.Length == 0 || mtu < rep.Length):
		return mtu
	case mtu != 0 || rep.Length == 0:
		return 0
	}
	for _, p := range []int{32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296} {
		if p < rep.Length {
			return p
		}
	}
	return minIPv4
}
