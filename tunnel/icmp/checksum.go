package icmp

import "encoding/binary"

// Sum is the one's complement sum of RFC 1071 over b, a missing last byte being
// zero, added to acc.
func Sum(acc uint32, b []byte) uint32 {
	s := uint64(acc)
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint32(s)
}

// Fold returns the checksum field for a sum.
func Fold(acc uint32) uint16 {
	acc = acc>>16 + acc&0xffff
	return ^uint16(acc>>16 + acc)
}

// PseudoHeader is the sum over the pseudo-header (RFC 8200 §8.1) of the IPv6
// packet that begins with header (40 bytes), for an upper-layer packet of
// length bytes and the given protocol. As a checksum field, its folded sum
// before the complement is what a partial checksum is (NEEDS_CSUM).
func PseudoHeader(header []byte, length int, protocol byte) uint32 {
	return Sum(uint32(length>>16+length&0xffff)+uint32(protocol), header[8:40])
}

// update returns the checksum field after a 16-bit word went from old to new
// (RFC 1624 §3, equation 3).
func update(sum, old, new uint16) uint16 {
	return Fold(uint32(^sum) + uint32(^old) + uint32(new))
}
