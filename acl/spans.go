package acl

import (
	"math/bits"
	"slices"
)

// spans are disjoint, not adjacent, and sorted. Above a few dozen, slots cuts
// the search short: slot i holds the number of spans whose first is below
// base + i<<shift, in the 64 bits that the family uses for it; and IPv4 is
// packed, first<<32 | last, as a lookup costs what it misses in the cache. A
// slot for every few spans keeps the slots in the cache, and reading few
// neighbours in turn fetches them all at once, which halving would not.
type spans struct {
	at     []span
	packed []uint64 // in place of at
	slots  []uint32
	base   uint64
	shift  uint8
	wide   bool // IPv6: slots cut by the upper 64 bits
}

const (
	indexed = 32 // spans from which on there are slots
	perSlot = 4  // spans, on average
	scanned = 16 // spans that are read in turn
)

func (t *spans) len() int { return len(t.at) + len(t.packed) }

func (t *spans) span(i int) span {
	if t.packed != nil {
		return span{u128{0, t.packed[i] >> 32}, u128{0, t.packed[i] & (1<<32 - 1)}}
	}
	return t.at[i]
}

// build sorts and merges what it is given, in place.
func build(in []span, width int) spans {
	slices.SortFunc(in, func(a, b span) int { return a.first.compare(b.first) })
	out := in[:0]
	for _, s := range in {
		if n := len(out); n > 0 && touches(out[n-1].last, s.first) {
			if out[n-1].last.less(s.last) {
				out[n-1].last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	t := spans{at: slices.Clip(out), wide: width == 128}
	if len(out) < cap(in)/2 {
		t.at = slices.Clone(out)
	}
	if len(out) >= indexed {
		t.index()
		t.pack()
	}
	return t
}

// touches reports whether a span that begins at first, not below another one's
// first, overlaps or continues that which ends at last.
func touches(last, first u128) bool {
	next := last.next()
	return next == (u128{}) || !next.less(first)
}

// pack makes IPv4 small.
func (t *spans) pack() {
	if t.wide {
		return
	}
	t.packed = make([]uint64, len(t.at))
	for i, s := range t.at {
		t.packed[i] = s.first.lo<<32 | s.last.lo
	}
	t.at = nil
}

// cut returns the 64 bits by which slots divide.
func (t *spans) cut(k u128) uint64 {
	if t.wide {
		return k.hi
	}
	return k.lo
}

// index makes the slots.
func (t *spans) index() {
	n := len(t.at)
	t.base = t.cut(t.at[0].first)
	width := t.cut(t.at[n-1].first) - t.base
	t.shift = uint8(max(0, bits.Len64(width)-bits.Len(uint(n/perSlot))))
	t.slots = make([]uint32, width>>t.shift+2)
	i := 0
	for slot := range t.slots {
		for i < n && (t.cut(t.at[i].first)-t.base)>>t.shift < uint64(slot) {
			i++
		}
		t.slots[slot] = uint32(i)
	}
}

func (t *spans) contains(k u128) bool {
	if len(t.at) == 1 { // most rules
		s := &t.at[0]
		return !k.less(s.first) && !s.last.less(k)
	}
	i, ok := t.find(k)
	switch {
	case !ok:
		return false
	case t.packed != nil:
		return k.lo <= t.packed[i]&(1<<32-1)
	}
	return !t.at[i].last.less(k)
}

// find returns the last span whose first is not above k.
func (t *spans) find(k u128) (int, bool) {
	lo, hi := 0, t.len()
	if t.slots != nil {
		c := t.cut(k)
		if c < t.base {
			return 0, false
		}
		slot := min((c-t.base)>>t.shift, uint64(len(t.slots)-2))
		lo, hi = int(t.slots[slot]), int(t.slots[slot+1])
	}
	for hi-lo > scanned {
		mid := int(uint(lo+hi) >> 1)
		if t.packed != nil && k.lo < t.packed[mid]>>32 || t.packed == nil && k.less(t.at[mid].first) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if t.packed != nil {
		for lo < hi && t.packed[lo]>>32 <= k.lo {
			lo++
		}
		return lo - 1, lo > 0
	}
	for lo < hi && !k.less(t.at[lo].first) {
		lo++
	}
	return lo - 1, lo > 0
}
