package icmp

import (
	"encoding/binary"
	"net/netip"
)

// Types and codes of ICMPv6 (RFC 4443 §3).
const (
	TypeUnreachable  = 1
	TypePacketTooBig = 2
	TypeTimeExceeded = 3

	CodeProhibited         = 1
	CodeAddressUnreachable = 3
	CodeSourcePolicy       = 5

	typeRedirect = 137
	nextICMPv6   = 58
	minMTU       = 1280
)

// AppendError appends to buf the ICMPv6 error of the given type, code and
// parameter (the MTU, for packet-too-big) from source to the sender of the
// IPv6 packet invoking, which may be cut short behind its header. It appends
// nothing where RFC 4443 §2.4 (e) forbids an error: about another error or a
// redirect, about multicast (but packet-too-big), to no single sender.
func AppendError(buf []byte, source netip.Addr, typ, code byte, param uint32, invoking []byte) []byte {
	if len(invoking) < ipv6Len || invoking[0]>>4 != 6 || !source.Is6() || forbidden(typ, invoking) {
		return buf
	}
	quoted := invoking[:min(len(invoking), minMTU-ipv6Len-icmpLen)]
	start := len(buf)
	buf = append(buf, 0x60, 0, 0, 0, 0, 0, nextICMPv6, 64)
	binary.BigEndian.PutUint16(buf[start+4:], uint16(icmpLen+len(quoted)))
	src := source.As16()
	buf = append(buf, src[:]...)
	buf = append(buf, invoking[8:24]...)
	buf = append(buf, typ, code, 0, 0)
	buf = binary.BigEndian.AppendUint32(buf, param)
	buf = append(buf, quoted...)
	msg := buf[start+ipv6Len:]
	sum := Fold(Sum(PseudoHeader(buf[start:], len(msg), nextICMPv6), msg))
	binary.BigEndian.PutUint16(msg[2:], sum)
	return buf
}

// AppendTooBig appends the packet-too-big for a packet that exceeds mtu, never
// announcing less than 1280 (RFC 8201 §4).
func AppendTooBig(buf []byte, source netip.Addr, mtu int, invoking []byte) []byte {
	return AppendError(buf, source, TypePacketTooBig, 0, uint32(max(mtu, minMTU)), invoking)
}

// forbidden is RFC 4443 §2.4 (e).
func forbidden(typ byte, pkt []byte) bool {
	src, dst := netip.AddrFrom16([16]byte(pkt[8:24])), netip.AddrFrom16([16]byte(pkt[24:40]))
	if src.IsUnspecified() || src.IsMulticast() || src.IsLoopback() || src.Is4In6() {
		return true
	}
	if dst.IsMulticast() && typ != TypePacketTooBig {
		return true
	}
	next, body, ok := upper(pkt)
	return ok && next == nextICMPv6 && len(body) > 0 && (body[0] < 128 || body[0] == typeRedirect)
}

// upper skips the extension headers of an IPv6 packet, at most eight, and
// reports false where the packet ends before, or shows a later fragment.
func upper(pkt []byte) (next byte, body []byte, ok bool) {
	next, body = pkt[6], pkt[ipv6Len:]
	for range 8 {
		size := 0
		switch next {
		case 0, 43, 60, 135, 139, 140:
			if len(body) >= 8 {
				size = int(body[1])*8 + 8
			}
		case 44:
			if len(body) >= 8 && binary.BigEndian.Uint16(body[2:])&^7 == 0 {
				size = 8
			}
		case 51:
			if len(body) >= 8 {
				size = int(body[1])*4 + 8
			}
		default:
			return next, body, true
		}
		if size == 0 || size > len(body) {
			return 0, nil, false
		}
		next, body = body[0], body[size:]
	}
	return 0, nil, false
}
