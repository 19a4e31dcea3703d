package dhcp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	const prefix = "20010e41000000000000000000000000"
	for _, row := range []struct{ hex, want string }{
		{"0020" + prefix + "c6336401", "prefix 2001:e41::/32, ipv4_mask_len 0, relays [198.51.100.1]"},
		{"0020" + prefix + "c6336401c6336402c6336401", "prefix 2001:e41::/32, ipv4_mask_len 0, relays [198.51.100.1 198.51.100.2]"},
		{"1638" + "2a02005800540000000000000000ffff" + "b9e37b01", "prefix 2a02:58:54::/56, ipv4_mask_len 22, relays [185.227.123.1]"},
		{"001e" + "2a01079fffffffffffffffffffffffff" + "c6336401", "prefix 2a01:79c::/30, ipv4_mask_len 0, relays [198.51.100.1]"},
		{"207f" + prefix + "c6336401", "prefix 2001:e41::/127, ipv4_mask_len 32, relays [198.51.100.1]"},
		{"2080" + prefix + "c6336401", "prefix 2001:e41::/128, ipv4_mask_len 32, relays [198.51.100.1]"},
		{"2120" + prefix + "c6336401", "option 212: IPv4MaskLen 33, more than 32"},
		{"0000" + prefix + "c6336401", "option 212: 6rdPrefixLen 0 with IPv4MaskLen 0: no room for an IPv4 address in 128 bits"},
		{"0061" + prefix + "c6336401", "option 212: 6rdPrefixLen 97 with IPv4MaskLen 0: no room for an IPv4 address in 128 bits"},
		{"20ff" + prefix + "c6336401", "option 212: 6rdPrefixLen 255 with IPv4MaskLen 32: no room for an IPv4 address in 128 bits"},
		{"0020" + prefix, "option 212 of 18 octets: want 18, and 4 for each relay, of which there is at least one"},
		{"0020" + prefix + "c63364", "option 212 of 21 octets: want 18, and 4 for each relay, of which there is at least one"},
		{"0020" + prefix + "c6336401c6", "option 212 of 23 octets: want 18, and 4 for each relay, of which there is at least one"},
		{"", "option 212 of 0 octets: want 18, and 4 for each relay, of which there is at least one"},
		{"0020" + prefix + "e0000001", "option 212: the relay 224.0.0.1 is no unicast address"},
		{"0020" + prefix + "c6336401" + "7f000001", "option 212: the relay 127.0.0.1 is no unicast address"},
		{"0020" + prefix + "00000000", "option 212: the relay 0.0.0.0 is no unicast address"},
		{"0010" + "ff0e0000000000000000000000000000" + "c6336401", "option 212: the prefix ff0e::/16 is no unicast prefix"},
		{"0010" + "fe800000000000000000000000000000" + "c6336401", "option 212: the prefix fe80::/16 is no unicast prefix"},
		{"0060" + "00000000000000000000ffff00000000" + "c6336401", "option 212: the prefix ::ffff:0.0.0.0/96 is no unicast prefix"},
		{"0020" + "00000000000000000000000000000000" + "c6336401", "option 212: the prefix ::/32 is no unicast prefix"},
	} {
		b, err := hex.DecodeString(row.hex)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Parse(b)
		got := p.String()
		if err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.hex, got, row.want)
		}
	}
}

// slow reads the option bit by bit, as the drawing in RFC 5969 §7.1.1 has it.
func slow(b []byte) (prefix netip.Prefix, mask int, relays []netip.Addr, ok bool) {
	if len(b) < 22 || len(b)%4 != 2 || b[0] > 32 || b[1] == 0 || int(b[1])+32-int(b[0]) > 128 {
		return
	}
	var a [16]byte
	for bit := range int(b[1]) {
		a[bit/8] |= b[2+bit/8] & (0x80 >> (bit % 8))
	}
	prefix = netip.PrefixFrom(netip.AddrFrom16(a), int(b[1]))
	if a == ([16]byte{}) || a[0] == 0xff || a[0] == 0xfe && a[1]&0xc0 == 0x80 || prefix.Addr().IsLoopback() || prefix.Addr().Is4In6() {
		return
	}
	for i := 18; i < len(b); i += 4 {
		if b[i] == 0 || b[i] == 127 || b[i] >= 224 {
			return
		}
		if r := netip.AddrFrom4([4]byte(b[i:])); !slices.Contains(relays, r) {
			relays = append(relays, r)
		}
	}
	return prefix, int(b[0]), relays, len(relays) <= maxRelays
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"002020010e41000000000000000000000000c6336401", "16382a02005800540000000000000000ffffb9e37b01b9e37b02"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		prefix, mask, relays, ok := slow(b)
		if ok != (err == nil) {
			t.Fatalf("%x: %v, the oracle says %v", b, err, ok)
		}
		if err != nil {
			return
		}
		if want := (Parameters{Prefix: prefix, IPv4MaskLen: mask, Relays: relays}); !p.Same(want) {
			t.Fatalf("%x: %v, the oracle says %v", b, p, want)
		}
		if again, err := Parse(p.Bytes()); err != nil || !again.Same(p) || !bytes.Equal(again.Bytes(), p.Bytes()) {
			t.Fatalf("%x: %v, once more %v, %v", b, p, again, err)
		}
	})
}
