package limit

import (
	"hash/maphash"
	"math/bits"
)

// A hasher makes the identity of a key: two of a million share one with a
// chance of 1 in 30 millions, and then share a count. Its secrets are random,
// so that nobody can aim at a shard or a collision. (maphash.Comparable does
// the same in five times the time.)
type hasher [4]uint64

func newHasher() (h hasher) {
	for i := range h {
		h[i] = maphash.Comparable(maphash.MakeSeed(), i)
	}
	return h
}

func (h *hasher) of(rule uint64, k Key) uint64 {
	return mix(mix(k.Hi^h[0], k.Lo^h[1])^h[2]^uint64(k.Len), rule^h[3])
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
