package ingress

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// A packet describes an outer packet for the tests; its zero fields are what
// most rows want.
type packet struct {
	outerSrc, outerDst string // default: the relay, us
	src, dst           string // default: a host on the Internet, us
	tos, tc            byte
	next               byte // default: no next header
	hops               byte // default 64
	options            []byte
	payload            []byte
	length             int // of the inner payload, when not 0
	flags              uint16
	id                 uint16
}

// bytes builds the packet for configuration A.
func (p packet) bytes() []byte {
	or := func(s, def string) netip.Addr {
		if s == "" {
			s = def
		}
		return netip.MustParseAddr(s)
	}
	in := make([]byte, innerLen, innerLen+len(p.payload))
	binary.BigEndian.PutUint32(in, 6<<28|uint32(p.tc)<<20)
	binary.BigEndian.PutUint16(in[4:], uint16(len(p.payload)))
	if p.length != 0 {
		binary.BigEndian.PutUint16(in[4:], uint16(p.length))
	}
	in[6], in[7] = p.next, p.hops
	if p.next == 0 && p.payload == nil {
		in[6] = 59
	}
	if p.hops == 0 {
		in[7] = 64
	}
	src, dst := or(p.src, "2606:4700::1").As16(), or(p.dst, "2001:db8:c000:20a::1").As16()
	copy(in[8:], src[:])
	copy(in[24:], dst[:])
	in = append(in, p.payload...)
	a, b := or(p.outerSrc, "198.51.100.1").As4(), or(p.outerDst, "192.0.2.10").As4()
	return outerPacket(a, b, p.tos, p.id, p.flags, p.options, in)
}

// outerPacket wraps data in an IPv4 header with a right checksum.
func outerPacket(src, dst [4]byte, tos byte, id, flags uint16, options, data []byte) []byte {
	h := make([]byte, outerMin, outerMin+len(options)+len(data))
	h = append(h, options...)
	n := len(h)
	h[0] = 4<<4 | byte(n/4)
	h[1] = tos
	binary.BigEndian.PutUint16(h[2:], uint16(n+len(data)))
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[6:], flags)
	h[8], h[9] = 64, proto41
	copy(h[12:], src[:])
	copy(h[16:], dst[:])
	binary.BigEndian.PutUint16(h[10:], ^sum16(h[:n&^1]))
	return append(h, data...)
}

// header is an extension header of 8 bytes and more.
func header(next byte, body ...byte) []byte {
	h := append([]byte{next, byte((len(body)+2)/8 - 1)}, body...)
	return h
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func udp(checksum uint16) []byte {
	return []byte{0x15, 0xb3, 0x10, 0x92, 0, 8, byte(checksum >> 8), byte(checksum)}
}

func icmp6(typ byte, rest uint32, body []byte) []byte {
	b := []byte{typ, 0, 0x12, 0x34, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[4:], rest)
	return append(b, body...)
}

// quoteOf is an inner packet from src, as an ICMPv6 error quotes it.
func quoteOf(src string) []byte {
	return packet{src: src, dst: "2606:4700::1"}.bytes()[outerMin:]
}

func TestBuiltPacketPasses(t *testing.T) {
	if got := mustNew(t, configs["A"]).Check(packet{}.bytes()); got != Pass {
		t.Fatalf("the packet that all rows are made from: %v", got)
	}
}
