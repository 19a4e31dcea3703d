package ingress

import "encoding/binary"

// MaxHeaders is how many extension headers a packet may have. RFC 8200 sets no
// bound; real packets have none or one, and every one costs work.
const MaxHeaders = 8

// Bounds on the options of one hop-by-hop or destination options header, as
// Linux has them (RFC 8504 §5.3).
const (
	maxOptions = 8
	maxPadding = 7
)

// Protocol numbers of the headers that are looked at.
const (
	nhHopByHop    = 0
	nhIPv4        = 4
	nhTCP         = 6
	nhUDP         = 17
	nhIPv6        = 41
	nhRouting     = 43
	nhFragment    = 44
	nhAuth        = 51
	nhICMPv6      = 58
	nhDestination = 60
	nhMobility    = 135
	nhHIP         = 139
	nhShim6       = 140
)

// payload judges what follows the addresses of an inner packet, which is
// exactly as long as its header says.
func (c *Checker) payload(in []byte) Reason {
	next, rest := in[6], in[innerLen:]
	first := false // the first fragment of several
	for n := 0; ; n++ {
		var size int
		switch next {
		case nhHopByHop, nhRouting, nhDestination, nhMobility, nhHIP, nhShim6:
			if len(rest) < 8 {
				return cut(first)
			}
			size = int(rest[1])*8 + 8
		case nhFragment:
			size = 8
		case nhAuth:
			if len(rest) < 8 {
				return cut(first)
			}
			size = int(rest[1])*4 + 8 // RFC 4302 §2.2
		default:
			return c.upper(in, next, rest, first)
		}
		if n == MaxHeaders {
			return TooManyHeaders
		}
		if size > len(rest) {
			return cut(first)
		}
		switch next {
		case nhHopByHop:
			if n > 0 { // RFC 8200 §4.1: only right behind the IPv6 header
				return BadHeader
			}
			fallthrough
		case nhDestination:
			if r := options6(rest[2:size]); r != Pass {
				return r
			}
		case nhRouting:
			// RFC 5095, RFC 8754: nobody routes through us. A relay forwards
			// the other types (RFC 5095 §4.1).
			if rest[3] != 0 && (c.kind != Relay || rest[2] == 0) {
				return RoutingHeader
			}
		case nhFragment:
			offset := binary.BigEndian.Uint16(rest[2:])
			if offset&^7 != 0 { // its chain was judged with the first fragment
				return Pass
			}
			first = first || offset&1 != 0
		}
		next, rest = rest[0], rest[size:]
	}
}

// cut is the verdict on a header that the packet ends in.
func cut(first bool) Reason {
	if first {
		return FirstFragment
	}
	return BadHeader
}

// upper judges the upper-layer header. What only its receiver should refuse, a
// relay passes on.
func (c *Checker) upper(in []byte, next byte, b []byte, first bool) Reason {
	need := 0
	switch next {
	case nhUDP, nhICMPv6:
		need = 8
	case nhTCP:
		need = 20
	}
	switch {
	case first && len(b) < max(need, 8):
		return FirstFragment
	case next == nhTCP:
		return Pass // too short a one is the stack's to count
	case len(b) < need:
		return BadHeader
	case next == nhICMPv6:
		return c.icmp6(in, b, first)
	case c.kind == Relay:
		return Pass
	case next == nhIPv4, next == nhIPv6:
		return Nested
	case next == nhUDP && b[6] == 0 && b[7] == 0:
		return UDPNoChecksum
	}
	return Pass
}

// options6 walks the options of a hop-by-hop or destination options header.
func options6(o []byte) Reason {
	count, padding := 0, 0
	for len(o) > 0 {
		size := 1 // Pad1
		if o[0] != 0 {
			if len(o) < 2 || int(o[1])+2 > len(o) {
				return BadHeader
			}
			size = int(o[1]) + 2
		}
		if o[0] <= 1 {
			padding += size
		} else {
			count, padding = count+1, 0
		}
		if count > maxOptions || padding > maxPadding {
			return TooManyHeaders
		}
		o = o[size:]
	}
	return Pass
}

// icmp6 judges an ICMPv6 message b of 8 bytes at least, in the packet in.
func (c *Checker) icmp6(in, b []byte, first bool) Reason {
	switch typ := b[0]; {
	case typ == 2 && !c.truthfulMTU(binary.BigEndian.Uint32(b[4:])):
		return PacketTooBig
	case typ < 128:
		return c.quote(b[8:])
	case typ == 135 || typ == 136:
		if c.kind == Configured && in[7] == 255 && !first {
			return Pass // RFC 4213 §3.8: a configured tunnel answers NUD probes
		}
		return NeighborDiscovery
	case linkOnly(typ):
		return NeighborDiscovery
	}
	return Pass
}

// linkOnlyTypes are the ranges of ICMPv6 types that have a meaning on a link
// only: MLD, ND, router renumbering; inverse ND, MLDv2; SEND; multicast router
// discovery.
var linkOnlyTypes = [][2]byte{{130, 138}, {141, 143}, {148, 149}, {151, 153}}

// LinkOnly returns the ranges of ICMPv6 types that are NeighborDiscovery, for
// generating programs. Do not modify it.
func LinkOnly() [][2]byte { return linkOnlyTypes }

func linkOnly(typ byte) bool {
	for _, r := range linkOnlyTypes {
		if typ >= r[0] && typ <= r[1] {
			return true
		}
	}
	return false
}

// truthfulMTU is RFC 8201 §4: a node ignores what is below IPv6's minimum and
// never raises its estimate.
func (c *Checker) truthfulMTU(mtu uint32) bool {
	return mtu >= minMTU && (c.kind == Relay || mtu <= c.mtu)
}

// quote judges the packet that an ICMPv6 error is about: we must have sent it.
// A relay forwards errors about the packets of others.
func (c *Checker) quote(q []byte) Reason {
	if c.kind == Relay {
		return Pass
	}
	if len(q) < innerLen {
		return ForeignQuote
	}
	hi, lo := binary.BigEndian.Uint64(q[8:]), binary.BigEndian.Uint64(q[16:])
	if q[0]>>4 != 6 || !matchAny(c.own, hi, lo) {
		return ForeignQuote
	}
	return Pass
}
