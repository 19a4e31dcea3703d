package bpf

import (
	"testing"

	"genkan/tunnel/ingress"
)

func (a addr) next() addr {
	a.lo++
	if a.lo == 0 {
		a.hi++
	}
	return a
}

func (a addr) prev() addr {
	if a.lo == 0 {
		a.hi--
	}
	a.lo--
	return a
}

// edges are the first and last address of a pattern and their neighbours.
func edges(p ingress.Pattern) []addr {
	first, last := addr{p.Hi, p.Lo}, addr{p.Hi | ^p.HiMask, p.Lo | ^p.LoMask}
	return []addr{first.prev(), first, first.next(), last.prev(), last, last.next()}
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
			inners := map[addr]bool{{0x26064700 << 32, 1}: true}
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
			add(out.Silent, true)
			own := addr{0x26064700 << 32, 2} // a relay's clients are on the Internet
			if len(out.Own) > 0 {
				own = addr{out.Own[0].Hi, out.Own[0].Lo | ^out.Own[0].LoMask&1}
			}
			seen := map[ingress.Reason]int{}
			for outer := range outers {
				for a := range inners {
					seen[r.checkIn(t, emptyPacket(outer, out.Local, a, own))]++
					if len(out.Own) > 0 && outer == out.Gateway || name == "relay" && out.Bits.Contains(a.hi) {
						seen[r.checkIn(t, emptyPacket(outer, out.Local, addr{0x26064700 << 32, 1}, a))]++
					}
				}
				if out.Kind != ingress.Configured { // the address that embeds the outer source
					a := addr{out.Bits.Delegated(outer), 1}
					for dst := range inners {
						seen[r.checkIn(t, emptyPacket(outer, out.Local, a, dst))]++
					}
				}
			}
			for a := range inners {
				r.checkOut(t, emptyPacket(0, 0, own, a)[outerLen:])
				r.checkOut(t, emptyPacket(0, 0, a, addr{0x26064700 << 32, 1})[outerLen:])
			}
			if seen[ingress.Pass] == 0 || seen[ingress.Unchecked] > 0 || len(seen) < 6 {
				t.Errorf("verdicts: %v", seen)
			}
			t.Log(seen)
		})
	}
}
