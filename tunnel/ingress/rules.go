package ingress

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Field is the address that a Rule looks at.
type Field uint8

// The fields.
const (
	OuterSrc Field = iota + 1
	OuterDst
	InnerSrc
	InnerDst
)

// String returns the field's name.
func (f Field) String() string {
	switch f {
	case OuterSrc:
		return "outer source"
	case OuterDst:
		return "outer destination"
	case InnerSrc:
		return "inner source"
	case InnerDst:
		return "inner destination"
	}
	return "no field"
}

// A Pattern matches addresses: those whose masked bits are as in Addr. An IPv4
// address stands in the low 32 bits of Lo, with all other bits of the masks
// zero. The zero Pattern matches everything.
type Pattern struct{ Hi, Lo, HiMask, LoMask uint64 }

func (p Pattern) match(hi, lo uint64) bool {
	return (hi^p.Hi)&p.HiMask == 0 && (lo^p.Lo)&p.LoMask == 0
}

// Prefix returns the pattern as an IPv6 prefix, and whether it is one. It is
// for patterns of inner fields.
func (p Pattern) Prefix() (netip.Prefix, bool) {
	n := 0
	for n < 128 && p.bit(n) {
		n++
	}
	for m := n; m < 128; m++ {
		if p.bit(m) {
			return netip.Prefix{}, false
		}
	}
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], p.Hi)
	binary.BigEndian.PutUint64(a[8:], p.Lo)
	return netip.PrefixFrom(netip.AddrFrom16(a), n), true
}

func (p Pattern) bit(n int) bool {
	if n < 64 {
		return p.HiMask>>(63-n)&1 == 1
	}
	return p.LoMask>>(127-n)&1 == 1
}

// Prefix4 returns the pattern as an IPv4 prefix. It is for patterns of outer
// fields, which are all prefixes.
func (p Pattern) Prefix4() netip.Prefix {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(p.Lo))
	n := 0
	for n < 32 && p.LoMask>>(31-n)&1 == 1 {
		n++
	}
	return netip.PrefixFrom(netip.AddrFrom4(a), n)
}

// String shows the pattern as value/mask.
func (p Pattern) String() string {
	return fmt.Sprintf("%016x%016x/%016x%016x", p.Hi, p.Lo, p.HiMask, p.LoMask)
}

// When is a further condition of a Rule.
type When uint8

// The conditions.
const (
	// Always adds no condition.
	Always When = iota
	// NotEmbedded: the IPv4 address embedded in the field by the 6rd domain is
	// not the outer source.
	NotEmbedded
	// SameAddress: inner source and destination are equal.
	SameAddress
)

// A Rule is one line of the table: a packet is dropped for Reason when Field
// matches one of In and none of Except, the outer source matches none of
// Trusted, and When holds. The first rule that matches decides.
type Rule struct {
	Reason  Reason
	Field   Field
	In      []Pattern
	Except  []Pattern
	Trusted []Pattern
	When    When
}

// Rules returns the table of address checks of this Checker, in order, for
// generating other filters. It is a copy of the list, but shares the patterns:
// do not modify them.
func (c *Checker) Rules() []Rule { return append([]Rule(nil), c.rules...) }

// match returns the reason of the first rule that matches, or Pass. The inner
// packet may be nil where no rule looks at it.
func (c *Checker) match(rules []Rule, src, dst uint32, in []byte) Reason {
	var a [InnerDst + 1]struct{ hi, lo uint64 }
	a[OuterSrc].lo, a[OuterDst].lo = uint64(src), uint64(dst)
	if in != nil {
		a[InnerSrc].hi, a[InnerSrc].lo = binary.BigEndian.Uint64(in[8:]), binary.BigEndian.Uint64(in[16:])
		a[InnerDst].hi, a[InnerDst].lo = binary.BigEndian.Uint64(in[24:]), binary.BigEndian.Uint64(in[32:])
	}
	for i := range rules {
		r := &rules[i]
		f := a[r.Field]
		if !matchAny(r.In, f.hi, f.lo) || matchAny(r.Except, f.hi, f.lo) || matchAny(r.Trusted, 0, uint64(src)) {
			continue
		}
		switch r.When {
		case NotEmbedded:
			if v4, _ := c.bits.Embedded(f.hi); v4 == src {
				continue
			}
		case SameAddress:
			if a[InnerSrc] != a[InnerDst] {
				continue
			}
		}
		return r.Reason
	}
	return Pass
}

func matchAny(ps []Pattern, hi, lo uint64) bool {
	for i := range ps {
		if ps[i].match(hi, lo) {
			return true
		}
	}
	return false
}
