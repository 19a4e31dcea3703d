package user

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b to a ones' complement sum of big-endian 16-bit words (RFC 1071)
// held in 64 bits. All parts but the last must have even length.
func sum(acc uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var last uint64
	for i, c := range b {
		last |= uint64(c) << (56 - 8*i)
	}
	acc, carry = bits.Add64(acc, last, carry)
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// fold returns the 16-bit ones' complement sum of acc.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc>>16 + acc&0xffff)
}

// pseudo sums the IPv6 pseudo-header (RFC 8200 §8.1) of a packet whose
// addresses are the first 32 bytes of addrs.
func pseudo(addrs []byte, length int, proto uint8) uint64 {
	return sum(uint64(length)+uint64(proto), addrs[:32])
}
