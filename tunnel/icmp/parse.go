package icmp

import (
	"encoding/binary"

	"genkan/tunnel/ingress"
)

const (
	ipv4Len = 20
	ipv6Len = 40
	icmpLen = 8
	proto41 = 41
)

// Types and codes of ICMPv4 (RFC 792, RFC 1191, RFC 1812 §5.2.7.1).
const (
	type4Unreachable  = 3
	type4TimeExceeded = 11
	code4FragNeeded   = 4
)

// A Report is an ICMPv4 error about a packet of ours.
type Report struct {
	Type, Code  byte
	MTU         int     // of the next hop, for fragmentation needed; 0: not said
	Destination [4]byte // where the quoted packet was going
	Length      int     // of the quoted outer packet, in bytes; 0: not known
	Inner       []byte  // what is quoted of the inner packet, often 8 bytes only
}

// Parse reads an ICMPv4 error, an IPv4 packet as received. Pass means that it
// is well-formed and quotes a protocol-41 packet from local.
func Parse(pkt []byte, local [4]byte) (Report, ingress.Reason) {
	msg, r := message(pkt, local)
	if r != ingress.Pass {
		return Report{}, r
	}
	if msg[0] != type4Unreachable && msg[0] != type4TimeExceeded {
		return Report{}, ingress.ICMPIgnored
	}
	q := msg[icmpLen:]
	if len(q) < ipv4Len || q[0]>>4 != 4 {
		return Report{}, ingress.ICMPMalformed
	}
	hdr := int(q[0]&15) * 4
	if hdr < ipv4Len || hdr > len(q) {
		return Report{}, ingress.ICMPMalformed
	}
	if q[9] != proto41 || [4]byte(q[12:16]) != local {
		return Report{}, ingress.ICMPForeign
	}
	if binary.BigEndian.Uint16(q[6:])&0x1fff != 0 { // not the part with the inner header
		return Report{}, ingress.ICMPIgnored
	}
	rep := Report{
		Type: msg[0], Code: msg[1],
		Destination: [4]byte(q[16:20]),
		Length:      int(binary.BigEndian.Uint16(q[2:])),
	}
	if rep.Type == type4Unreachable && rep.Code == code4FragNeeded {
		rep.MTU = int(binary.BigEndian.Uint16(msg[6:])) // RFC 1191 §4
	}
	if rep.Length < hdr { // we never sent such a packet
		return Report{}, ingress.ICMPMalformed
	}
	// RFC 4884 pads and extends what is quoted: the packet's own length bounds it.
	rep.Inner = q[hdr:min(len(q), rep.Length)]
	return rep, ingress.Pass
}

// message validates the outer packet and returns the ICMPv4 message.
func message(pkt []byte, local [4]byte) ([]byte, ingress.Reason) {
	if len(pkt) < ipv4Len+icmpLen || pkt[0]>>4 != 4 || pkt[9] != 1 {
		return nil, ingress.ICMPMalformed
	}
	hdr, total := int(pkt[0]&15)*4, int(binary.BigEndian.Uint16(pkt[2:]))
	switch {
	case hdr < ipv4Len || total < hdr+icmpLen || total > len(pkt):
		return nil, ingress.ICMPMalformed
	case binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0: // a fragmented error: nobody sends that
		return nil, ingress.ICMPMalformed
	case Fold(Sum(0, pkt[:hdr])) != 0 || Fold(Sum(0, pkt[hdr:total])) != 0:
		return nil, ingress.ICMPMalformed
	case [4]byte(pkt[16:20]) != local:
		return nil, ingress.ICMPForeign
	}
	return pkt[hdr:total], ingress.Pass
}
