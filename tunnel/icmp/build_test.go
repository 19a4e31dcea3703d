package icmp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"genkan/tunnel/ingress"
	"genkan/tunnel/sixrd"
)

var addr = netip.MustParseAddr

const (
	us    = "2001:db8:c000:20a::1"
	inet  = "2606:4700::1"
	local = "192.0.2.10"
	relay = "198.51.100.1"
)

func mustCheck(t testing.TB) *ingress.Checker {
	t.Helper()
	c, err := ingress.New(ingress.Config{
		Kind:  ingress.Edge,
		Local: addr(local),
		Domain: sixrd.Domain{
			Prefix: netip.MustParsePrefix("2001:db8::/32"),
			Relays: []netip.Addr{addr(relay)},
		},
		MTU: 1480,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ipv6 is an inner packet.
func ipv6(src, dst string, next byte, payload []byte) []byte {
	b := make([]byte, ipv6Len)
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	s, d := addr(src).As16(), addr(dst).As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return append(b, payload...)
}

// ipv4 wraps data; the packet says total bytes where that is not 0.
func ipv4(src, dst string, protocol byte, total int, data []byte) []byte {
	b := make([]byte, ipv4Len)
	if total == 0 {
		total = ipv4Len + len(data)
	}
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	s, d := addr(src).As4(), addr(dst).As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], Fold(Sum(0, b)))
	return append(b, data...)
}

// icmp4 is an ICMPv4 error from a router on the path.
func icmp4(typ, code byte, mtu uint16, quote []byte) []byte {
	m := make([]byte, icmpLen, icmpLen+len(quote))
	m[0], m[1] = typ, code
	binary.BigEndian.PutUint16(m[6:], mtu)
	m = append(m, quote...)
	binary.BigEndian.PutUint16(m[2:], Fold(Sum(0, m)))
	return ipv4("203.0.113.50", local, 1, 0, m)
}

// checkError6 verifies an ICMPv6 error packet and returns its type, code,
// parameter and destination.
func checkError6(t *testing.T, p []byte, quoted []byte) (typ, code byte, param uint32, dst netip.Addr) {
	t.Helper()
	if len(p) < ipv6Len+icmpLen || p[0] != 0x60 || p[6] != 58 || len(p) > 1280 {
		t.Fatalf("no ICMPv6 error: %x", p)
	}
	if n := int(binary.BigEndian.Uint16(p[4:])); n != len(p)-ipv6Len {
		t.Errorf("length %d in a packet of %d", n, len(p))
	}
	if s := Fold(Sum(PseudoHeader(p, len(p)-ipv6Len, 58), p[ipv6Len:])); s != 0 {
		t.Errorf("checksum is off by %#x", s)
	}
	body := p[ipv6Len+icmpLen:]
	if len(body) > len(quoted) || string(body) != string(quoted[:len(body)]) {
		t.Errorf("quotes %x\nwant   %x", body, quoted)
	}
	m := p[ipv6Len:]
	return m[0], m[1], binary.BigEndian.Uint32(m[4:]), netip.AddrFrom16([16]byte(p[24:40]))
}

func TestAppendError(t *testing.T) {
	long := ipv6(us, inet, 17, make([]byte, 1400))
	got := AppendTooBig([]byte("before"), addr(us), 1400, long)
	if string(got[:6]) != "before" {
		t.Error("the buffer's bytes are gone")
	}
	typ, code, mtu, dst := checkError6(t, got[6:], long)
	if typ != 2 || code != 0 || mtu != 1400 || dst != addr(us) || len(got) != 6+1280 {
		t.Errorf("type %d code %d mtu %d to %v, %d bytes", typ, code, mtu, dst, len(got))
	}
	_, _, mtu, _ = checkError6(t, AppendTooBig(nil, addr(us), 600, long), long)
	if mtu != 1280 {
		t.Errorf("announces %d, want 1280", mtu)
	}
}

// TestNoError is RFC 4443 §2.4 (e): what must not be answered.
func TestNoError(t *testing.T) {
	udp := make([]byte, 8)
	errorMsg := func(typ byte) []byte { return []byte{typ, 0, 0, 0, 0, 0, 0, 0} }
	options := append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, errorMsg(1)...)
	for _, row := range []struct {
		name   string
		answer bool
		typ    byte
		pkt    []byte
	}{
		{"udp", true, 1, ipv6(us, inet, 17, udp)},
		{"cut-behind-header", true, 1, ipv6(us, inet, 17, nil)},
		{"echo", true, 1, ipv6(us, inet, 58, errorMsg(128))},
		{"later-fragment", true, 1, ipv6(us, inet, 44, []byte{58, 0, 0, 8, 0, 0, 0, 0, 1, 1, 1, 1})},
		{"about-unreachable", false, 1, ipv6(us, inet, 58, errorMsg(1))},
		{"about-too-big", false, 1, ipv6(us, inet, 58, errorMsg(2))},
		{"about-redirect", false, 1, ipv6(us, inet, 58, errorMsg(137))},
		{"about-error-behind-options", false, 1, ipv6(us, inet, 60, options)},
		{"to-multicast", false, 1, ipv6(us, "ff0e::1", 17, udp)},
		{"to-multicast-too-big", true, 2, ipv6(us, "ff0e::1", 17, udp)},
		{"from-nobody", false, 1, ipv6("::", inet, 17, udp)},
		{"from-multicast", false, 1, ipv6("ff02::1", inet, 17, udp)},
		{"from-loopback", false, 1, ipv6("::1", inet, 17, udp)},
		{"from-mapped", false, 1, ipv6("::ffff:192.0.2.1", inet, 17, udp)},
		{"too-short", false, 1, ipv6(us, inet, 17, nil)[:39]},
		{"ipv4", false, 1, ipv4(local, relay, 17, 0, make([]byte, 40))},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := AppendError(nil, addr(us), row.typ, 3, 0, row.pkt)
			if (len(got) > 0) != row.answer {
				t.Errorf("answers %d bytes, want an answer: %v", len(got), row.answer)
			}
		})
	}
	if got := AppendError(nil, netip.Addr{}, 1, 3, 0, ipv6(us, inet, 17, udp)); got != nil {
		t.Error("an answer from no address")
	}
}

func TestSum(t *testing.T) {
	// RFC 1071 §3's example.
	if got := Sum(0, []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != 0xddf2 {
		t.Errorf("Sum = %#x, want 0xddf2", got)
	}
	if got := Sum(0, []byte{0x12}); got != 0x1200 {
		t.Errorf("Sum of an odd byte = %#x", got)
	}
	// RFC 1624 §4's example.
	if got := update(0xdd2f, 0x5555, 0x3285); got != 0x0000 {
		t.Errorf("update = %#x, want 0", got)
	}
}
