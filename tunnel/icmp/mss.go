package icmp

import "encoding/binary"

const (
	nextTCP   = 6
	tcpLen    = 20
	flagSYN   = 0x02
	optionMSS = 2
)

// ClampMSS lowers the MSS option of a TCP SYN in an IPv6 packet to what fits
// mtu (RFC 9293 §3.7.1: mtu less 40 and 20), in place, and reports whether it
// changed the packet. The TCP checksum is updated, unless partial says that it
// holds the pseudo-header's sum only (NEEDS_CSUM), which the MSS is no part of.
// A packet that is no SYN, is malformed, or has no MSS option stays as it is.
func ClampMSS(pkt []byte, mtu int, partial bool) bool {
	if len(pkt) < ipv6Len+tcpLen || pkt[0]>>4 != 6 {
		return false
	}
	next, tcp, ok := upper(pkt)
	if !ok || next != nextTCP || len(tcp) < tcpLen || tcp[13]&flagSYN == 0 {
		return false
	}
	end := int(tcp[12]>>4) * 4
	if end < tcpLen || end > len(tcp) {
		return false
	}
	at, ok := mssOption(tcp[:end])
	limit := mtu - ipv6Len - tcpLen
	if !ok || limit < 0 || limit > 0xffff {
		return false
	}
	old := binary.BigEndian.Uint16(tcp[at:])
	if int(old) <= limit {
		return false
	}
	binary.BigEndian.PutUint16(tcp[at:], uint16(limit))
	if !partial {
		from, to := old, uint16(limit)
		if at%2 == 1 { // the value straddles two words of the sum
			from, to = from<<8|from>>8, to<<8|to>>8
		}
		sum := binary.BigEndian.Uint16(tcp[16:])
		binary.BigEndian.PutUint16(tcp[16:], update(sum, from, to))
	}
	return true
}

// mssOption returns where the value of the MSS option stands in a TCP header.
func mssOption(tcp []byte) (int, bool) {
	for i := tcpLen; i < len(tcp); {
		switch {
		case tcp[i] == 0: // end of options
			return 0, false
		case tcp[i] == 1: // no operation
			i++
			continue
		case i+1 >= len(tcp) || tcp[i+1] < 2 || i+int(tcp[i+1]) > len(tcp):
			return 0, false
		case tcp[i] == optionMSS && tcp[i+1] == 4:
			return i + 2, true
		}
		i += int(tcp[i+1])
	}
	return 0, false
}
