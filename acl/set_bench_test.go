package acl

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/gaissmai/bart"
)

// somePrefixes returns n prefixes, half of each family, with the lengths that
// blocklists and routing tables have.
func somePrefixes(n int) []Prefix {
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

// A Set answers as bart does, inside prefixes, at their edges and beyond.
func TestSetAgainstBart(t *testing.T) {
	for _, n := range []int{0, 1, 2, 10, 100, 50_000} {
		prefixes := somePrefixes(n)
		set := SetOf(prefixes...)
		var table bart.Lite
		for _, p := range prefixes {
			table.Insert(p.p)
		}
		r := rand.New(rand.NewPCG(3, uint64(n)))
		for range 20_000 {
			a := addr4(r.Uint32())
			if n > 0 {
				around := RangeOf(prefixes[r.IntN(n)])
				a = []Addr{around.First, around.Last, {around.First.ip.Prev()}, {around.Last.ip.Next()}, addr6(u128{r.Uint64(), r.Uint64()})}[r.IntN(5)]
			}
			want := table.Contains(a.ip)
			if got := set.Contains(a); got != want {
				t.Fatalf("%d prefixes: contains %v: %v, want %v", n, a, got, want)
			}
			if span, ok := set.Find(a); ok != want || ok && !span.Contains(a) {
				t.Fatalf("%d prefixes: finds %v in %v, %v", n, a, span, ok)
			}
		}
	}
}

// BenchmarkSetMillion and BenchmarkBartMillion are the lookup in a list of a
// million prefixes: by as many clients as a busy front has at a time, and by
// so many that every lookup misses the cache. MB is what the table holds.
func BenchmarkSetMillion(b *testing.B) {
	benchmarkMillion(b, func(prefixes []Prefix) func(Addr) bool { return SetOf(prefixes...).Contains })
}

func BenchmarkBartMillion(b *testing.B) {
	benchmarkMillion(b, func(prefixes []Prefix) func(Addr) bool {
		var table bart.Lite
		for _, p := range prefixes {
			table.Insert(p.p)
		}
		return func(a Addr) bool { return table.Contains(a.ip) }
	})
}

func benchmarkMillion(b *testing.B, build func([]Prefix) func(Addr) bool) {
	prefixes := somePrefixes(1_000_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	contains := build(prefixes)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for _, clients := range []int{1 << 14, 1 << 17} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			asks := make([]Addr, clients)
			for i := range asks {
				asks[i] = Addr{prefixes[i*61%len(prefixes)].p.Addr()}
			}
			b.ReportAllocs()
			i, began := 0, cpuTime(b)
			for b.Loop() {
				if i++; !contains(asks[i%len(asks)]) {
					b.Fatal("lost")
				}
			}
			reportCPU(b, began)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		})
	}
}

// cpuTime is what this process has had of the CPU. Other work on the machine
// stretches it less than the time on the wall.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, began time.Duration) {
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
}

// BenchmarkMiss is what BenchmarkSetMillion's figures are to be read against:
// one access to memory of that size which the cache does not have.
func BenchmarkMiss(b *testing.B) {
	const lines = 24 << 20 / 64
	next := make([][16]uint32, lines)
	order := rand.New(rand.NewPCG(5, 6)).Perm(lines)
	for i, at := range order {
		next[at][0] = uint32(order[(i+1)%lines])
	}
	at := uint32(0)
	for b.Loop() {
		at = next[at][0]
	}
}
