package acl

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// million returns n prefixes, half of each family, with the lengths that
// blocklists and routing tables have.
func million(n int) []Prefix {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]Prefix, n)
	for i := range out {
		if i%2 == 0 {
			out[i] = PrefixFrom(netip.PrefixFrom(addr4(r.Uint32N(224<<24)).ip, 20+r.IntN(13)))
			continue
		}
		a := addr6(u128{0x2000<<48 | r.Uint64()>>3, r.Uint64()})
		out[i] = PrefixFrom(netip.PrefixFrom(a.ip, 32+r.IntN(97)))
	}
	return out
}

func BenchmarkSetContainsMillion(b *testing.B) {
	prefixes := million(1_000_000)
	var sb SetBuilder
	for _, p := range prefixes {
		sb.AddPrefix(p)
	}
	s := sb.Build()
	asks := make([]Addr, 1<<14)
	for i := range asks {
		asks[i] = Addr{prefixes[i*61%len(prefixes)].p.Addr()}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if !s.Contains(asks[i&(len(asks)-1)]) {
			b.Fatal("lost")
		}
	}
}
