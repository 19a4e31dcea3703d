package ingress

import "encoding/binary"

// Egress judges an inner IPv6 packet that is about to leave through the tunnel
// and returns the outer destination. The destination is zero unless Pass.
func (c *Checker) Egress(in []byte) (dst [4]byte, r Reason) {
	if len(in) >= innerLen && innerLen+int(binary.BigEndian.Uint16(in[4:])) > len(in) {
		return dst, BadLength
	}
	return c.EgressHeader(in)
}

// EgressHeader is Egress for a packet that is known to 40 bytes at least: it
// says where a packet of which an ICMP error quotes the beginning went.
func (c *Checker) EgressHeader(in []byte) (dst [4]byte, r Reason) {
	if c == nil || c.kind == 0 {
		return dst, Unchecked
	}
	if len(in) < innerLen {
		return dst, Tiny
	}
	if in[0]>>4 != 6 {
		return dst, BadVersion
	}
	srcHi, srcLo := binary.BigEndian.Uint64(in[8:]), binary.BigEndian.Uint64(in[16:])
	dstHi, dstLo := binary.BigEndian.Uint64(in[24:]), binary.BigEndian.Uint64(in[32:])
	if matchAny(c.silent, srcHi, srcLo) || matchAny(c.silent, dstHi, dstLo) {
		return dst, EgressMartian
	}
	if c.kind != Relay {
		if !matchAny(c.own, srcHi, srcLo) {
			return dst, EgressSource
		}
		if matchAny(c.own, dstHi, dstLo) {
			return dst, EgressLoop
		}
	}
	to, r := c.outerDst(dstHi)
	if r == Pass {
		binary.BigEndian.PutUint32(dst[:], to)
	}
	return dst, r
}

// outerDst is RFC 5969 §9.1: the embedded IPv4 address, else the relay.
func (c *Checker) outerDst(hi uint64) (uint32, Reason) {
	if c.kind == Configured {
		return c.gateway, Pass
	}
	to, ok := c.bits.Embedded(hi)
	switch {
	case !ok && c.kind == Edge:
		return c.gateway, Pass
	case !ok:
		return 0, EgressUnroutable
	case to == c.local:
		return 0, EgressLoop
	case c.unsendable(to):
		return 0, EgressUnroutable
	}
	return to, Pass
}

// unsendable reports whether nobody has the IPv4 address.
func (c *Checker) unsendable(a uint32) bool {
	for _, p := range martians {
		if p.match(0, uint64(a)) {
			return true
		}
	}
	for _, b := range c.bcasts {
		if a == b {
			return true
		}
	}
	return false
}

// silent are the addresses that hosts use among themselves all the time (MLD,
// ND, multicast DNS) and those that are never on a wire: dropped, not answered.
var silent = patterns6(prefixes("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8"))

var martians = patterns4(martian4)

// SendsTo reports whether any packet can have the outer destination dst: the
// relay or remote, or an address that a 6rd address can embed.
func (c *Checker) SendsTo(dst [4]byte) bool {
	if c == nil || c.kind == 0 {
		return false
	}
	a := binary.BigEndian.Uint32(dst[:])
	if c.kind != Relay && a == c.gateway {
		return true
	}
	if c.kind == Configured || a == c.local || c.unsendable(a) {
		return false
	}
	shared := ^(^uint32(0) >> c.bits.Shared)
	return (a^c.bits.Common)&shared == 0
}
