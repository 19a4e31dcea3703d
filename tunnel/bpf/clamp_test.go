package bpf

import (
	"encoding/binary"
	"testing"

	"genkan/tunnel/icmp"
)

// tcpPacket is a TCP segment with options, its checksum right.
func tcpPacket(flags byte, options ...byte) []byte {
	p := innerPacket("2001:db8:c000:20a::1", "2606:4700::1", 0, innerLen+20+len(options))
	p[6] = 6
	tcp := p[innerLen:]
	tcp[12], tcp[13] = byte(20+len(options))<<2, flags
	copy(tcp[20:], options)
	sum := icmp.Fold(icmp.Sum(icmp.PseudoHeader(p, len(tcp), 6), tcp))
	binary.BigEndian.PutUint16(tcp[16:], sum)
	return p
}

func TestClampRun(t *testing.T) {
	requireBPF(t)
	r := startRun(t, configs()["A"]) // its MTU is 1480, so the MSS 1420
	for _, row := range []struct {
		name string
		want int32
		pkt  []byte
	}{
		{"syn", tcxRedirect, tcpPacket(0x02, 2, 4, 5, 180)},
		{"syn-ack", tcxRedirect, tcpPacket(0x12, 2, 4, 0xff, 0xff, 4, 2, 1, 1)},
		{"fits", tcxRedirect, tcpPacket(0x02, 2, 4, 5, 140)},
		{"small", tcxRedirect, tcpPacket(0x02, 2, 4, 2, 24)},
		{"no-syn", tcxRedirect, tcpPacket(0x10, 2, 4, 5, 180)},
		{"no-options", tcxRedirect, tcpPacket(0x02)},
		{"other-first", tcxNext, tcpPacket(0x02, 1, 1, 1, 1, 2, 4, 5, 180)},
		{"cut", tcxNext, tcpPacket(0x02)[:52]},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.name == "cut" {
				binary.BigEndian.PutUint16(row.pkt[4:], 12)
			}
			if got := r.checkOut(t, row.pkt); got != row.want {
				t.Errorf("returns %d, want %d", got, row.want)
			}
		})
	}
}
