package bpf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf/asm"

	"genkan/tunnel/ingress"
)

// MaxRoutes is how many routes the encap program may have to tell apart.
const MaxRoutes = 64

// A Route says whether an IPv4 prefix is reached by the uplink.
type Route struct {
	Prefix netip.Prefix
	Uplink bool
}

// Compact returns the routes that matter, longest prefix first, so that the
// first that matches decides. What no route covers is not reached by the
// uplink. More than MaxRoutes are an error.
func Compact(routes []Route) ([]Route, error) {
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(a.Prefix.Bits()-b.Prefix.Bits(), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	// Of two for one prefix, the first has the better metric.
	routes = slices.CompactFunc(routes, func(a, b Route) bool { return a.Prefix == b.Prefix })
	var kept []Route // longest last
	for _, r := range routes {
		above := false
		for _, k := range slices.Backward(kept) {
			if k.Prefix.Contains(r.Prefix.Addr()) {
				above = k.Uplink
				break
			}
		}
		if above == r.Uplink { // says nothing new
			continue
		}
		if len(kept) == MaxRoutes {
			return nil, fmt.Errorf("more than %d IPv4 routes lead by other interfaces than the uplink", MaxRoutes)
		}
		kept = append(kept, r)
	}
	slices.Reverse(kept)
	return kept, nil
}

// byUplink leaves to the stack what does not leave by the uplink.
func (b *builder) byUplink(routes []Route) {
	if routes == nil {
		return
	}
	fast := b.fresh("uplink")
	for _, r := range routes {
		to := labelNext
		if r.Uplink {
			to = fast
		}
		b.jumpIf(ingress.OuterSrc, pattern4(r.Prefix), to) // outerDst is in outerSrc's place
	}
	if n := len(routes); n == 0 || routes[n-1].Prefix.Bits() > 0 {
		// Always taken, but the verifier wants a way to what follows.
		b.add(asm.JEq.Reg(outerDst, outerDst, labelNext))
	}
	b.label(fast)
}

func pattern4(p netip.Prefix) ingress.Pattern {
	a := p.Masked().Addr().As4()
	mask := uint64(^(^uint32(0) >> p.Bits()))
	return ingress.Pattern{Lo: uint64(a[0])<<24 | uint64(a[1])<<16 | uint64(a[2])<<8 | uint64(a[3]), LoMask: mask}
}
