package icmp

import (
	"encoding/binary"
	"testing"
)

// syn is a TCP segment with options in a packet with a right checksum.
func syn(flags byte, options ...byte) []byte {
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	tcp := make([]byte, tcpLen, tcpLen+len(options))
	tcp[0], tcp[3] = 80, 80
	tcp[12], tcp[13] = byte(tcpLen+len(options))<<2, flags
	p := ipv6(us, inet, 6, append(tcp, options...))
	binary.BigEndian.PutUint16(p[ipv6Len+16:], Fold(tcpSum(p)))
	return p
}

func tcpSum(p []byte) uint32 {
	tcp := p[ipv6Len:]
	return Sum(PseudoHeader(p, len(tcp), 6), tcp)
}

func TestClampMSS(t *testing.T) {
	for _, row := range []struct {
		name    string
		pkt     []byte
		changed bool
		at      int // of the value, from the TCP header
		want    uint16
	}{
		{"syn", syn(0x02, 2, 4, 5, 160), true, 22, 1220},
		{"syn-ack", syn(0x12, 2, 4, 5, 160), true, 22, 1220},
		{"odd-place", syn(0x02, 1, 2, 4, 5, 160), true, 23, 1220},
		{"behind-others", syn(0x02, 4, 2, 3, 3, 7, 2, 4, 0xff, 0xff), true, 27, 1220},
		{"jumbo", syn(0x02, 2, 4, 0xff, 0xff), true, 22, 1220},
		{"small-enough", syn(0x02, 2, 4, 4, 196), false, 22, 1220},
		{"smaller", syn(0x02, 2, 4, 2, 24), false, 22, 536},
		{"no-syn", syn(0x10, 2, 4, 5, 160), false, 22, 1440},
		{"behind-end", syn(0x02, 0, 2, 4, 5, 160), false, 23, 1440},
		{"wrong-size", syn(0x02, 2, 3, 5, 160), false, 22, 1440},
		{"option-beyond", syn(0x02, 8, 99, 2, 4, 5, 160), false, 24, 1440},
		{"option-0", syn(0x02, 8, 0, 2, 4, 5, 160), false, 24, 1440},
		{"udp", edited(syn(0x02, 2, 4, 5, 160), 6, 6^17), false, 22, 1440},
		{"offset-beyond", edited(syn(0x02, 2, 4, 5, 160), ipv6Len+12, 0x90), false, 22, 1440},
		{"offset-small", edited(syn(0x02, 2, 4, 5, 160), ipv6Len+12, 0x50), false, 22, 1440},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := Fold(tcpSum(row.pkt))
			if got := ClampMSS(row.pkt, 1280, false); got != row.changed {
				t.Errorf("changed = %v, want %v", got, row.changed)
			}
			if got := binary.BigEndian.Uint16(row.pkt[ipv6Len+row.at:]); got != row.want {
				t.Errorf("MSS = %d, want %d", got, row.want)
			}
			if after := Fold(tcpSum(row.pkt)); after != before {
				t.Errorf("checksum off by %#x", after)
			}
		})
	}
}

// TestClampPartial: a partial checksum does not cover the options.
func TestClampPartial(t *testing.T) {
	p := syn(0x02, 2, 4, 5, 160)
	binary.BigEndian.PutUint16(p[ipv6Len+16:], 0x1234)
	if !ClampMSS(p, 1280, true) || binary.BigEndian.Uint16(p[ipv6Len+16:]) != 0x1234 {
		t.Error("the partial checksum was changed")
	}
}

func TestClampShort(t *testing.T) {
	p := syn(0x02, 2, 4, 5, 160)
	for n := range p {
		if ClampMSS(append([]byte(nil), p[:n]...), 1280, false) {
			t.Errorf("changed a packet cut to %d bytes", n)
		}
	}
	if ClampMSS(p, 59, false) {
		t.Error("clamped to less than nothing")
	}
}

func FuzzClampMSS(f *testing.F) {
	f.Add(syn(0x02, 2, 4, 5, 160), 1280)
	f.Add(syn(0x02, 1, 2, 4, 5, 160), 1400)
	f.Fuzz(func(t *testing.T, pkt []byte, mtu int) {
		orig := append([]byte(nil), pkt...)
		changed := ClampMSS(pkt, mtu, false)
		differ := 0
		for i := range pkt {
			if pkt[i] != orig[i] {
				differ++
			}
		}
		if changed == (differ == 0) || differ > 4 {
			t.Errorf("changed = %v, %d bytes differ", changed, differ)
		}
		if !changed || pkt[6] != 6 {
			return
		}
		// The sum over all bytes says the same as before.
		if a, b := tcpSum(orig), tcpSum(pkt); a%0xffff != b%0xffff {
			t.Errorf("checksum: %#x, was %#x", b, a)
		}
	})
}
