package bpf

import (
	"encoding/binary"
	"testing"

	"genkan/tunnel/icmp"
	"genkan/tunnel/ingress"
)

type addr6 struct{ hi, lo uint64 }

func (a addr6) next() addr6 {
	a.lo++
	if a.lo == 0 {
		a.hi++
	}
	return a
}

func (a addr6) prev() addr6 {
	if a.lo == 0 {
		a.hi--
	}
	a.lo--
	return a
}

// edges are the first and last address of a pattern and their neighbours.
func edges(p ingress.Pattern) []addr6 {
	first, last := addr6{p.Hi, p.Lo}, addr6{p.Hi | ^p.HiMask, p.Lo | ^p.LoMask}
	return []addr6{first.prev(), first, first.next(), last.prev(), last, last.next()}
}

// TestBoundaries tries the programs where the table's patterns begin and end,
// each as source and as destination, from every kind of outer source.
func TestBoundaries(t *testing.T) {
	requireBPF(t)
	for name, cfg := range configs() {
		t.Run(name, func(t *testing.T) {
			r := startRun(t, cfg)
			out := r.check.Outbound()
			outers := map[uint32]bool{out.Gateway: true, out.Local: true, 0xcb007105: true}
			inners := map[addr6]bool{{0x26064700 << 32, 1}: true}
			add := func(ps []ingress.Pattern, inner bool) {
				for _, p := range ps {
					for _, a := range edges(p) {
						if inner {
							inners[a] = true
						} else {
							outers[uint32(a.lo)] = true
						}
					}
				}
			}
			for _, rule := range r.check.Rules() {
				inner := rule.Field == ingress.InnerSrc || rule.Field == ingress.InnerDst
				add(rule.In, inner)
				add(rule.Except, inner)
				add(rule.Trusted, false)
			}
			add(out.Own, true)
			own := addr6{0x26064700 << 32, 2} // a relay's clients are on the Internet
			if len(out.Own) > 0 {
				own = addr6{out.Own[0].Hi, out.Own[0].Lo | ^out.Own[0].LoMask&1}
			}
			seen := map[ingress.Reason]int{}
			for outer := range outers {
				for a := range inners {
					seen[r.checkIn(t, between(outer, out.Local, a, own))]++
					if len(out.Own) > 0 && outer == out.Gateway || name == "relay" && out.Bits.Contains(a.hi) {
						seen[r.checkIn(t, between(outer, out.Local, addr6{0x26064700 << 32, 1}, a))]++
					}
				}
				if out.Kind != ingress.Configured { // the address that embeds the outer source
					a := addr6{out.Bits.Delegated(outer), 1}
					for dst := range inners {
						seen[r.checkIn(t, between(outer, out.Local, a, dst))]++
					}
				}
			}
			for a := range inners {
				r.checkOut(t, between(0, 0, own, a)[outerLen:])
				r.checkOut(t, between(0, 0, a, addr6{0x26064700 << 32, 1})[outerLen:])
			}
			if seen[ingress.Pass] == 0 || seen[ingress.Unchecked] > 0 || len(seen) < 6 {
				t.Errorf("verdicts: %v", seen)
			}
			t.Log(seen)
		})
	}
}

// between is an outer packet with an empty inner one.
func between(outer, local uint32, src, dst addr6) []byte {
	b := make([]byte, outerLen+innerLen)
	b[0], b[8], b[9] = 0x45, 64, 41
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[12:], outer)
	binary.BigEndian.PutUint32(b[16:], local)
	binary.BigEndian.PutUint16(b[10:], icmp.Fold(icmp.Sum(0, b[:outerLen])))
	in := b[outerLen:]
	in[0], in[6], in[7] = 0x60, 59, 64
	for i, w := range []uint64{src.hi, src.lo, dst.hi, dst.lo} {
		binary.BigEndian.PutUint64(in[8+8*i:], w)
	}
	return b
}
