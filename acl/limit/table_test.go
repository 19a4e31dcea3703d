package limit

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// one is an attempt of a key under a bound.
func one(key uint64, most int, window time.Duration) *Attempt {
	a := &Attempt{Rule: 1, Window: window, N: 1, Overflow: Level{Key{Hi: key >> 32, Len: 32}, 32 * most}}
	a.Levels[0] = Level{Key{Hi: key, Len: 64}, most}
	return a
}

// slowLog is every attempt that passed: the oracle.
type slowLog []time.Duration

func (l slowLog) used(now, window time.Duration) (n int) {
	for _, at := range l {
		if now-at < window {
			n++
		}
	}
	return n
}

// Whatever comes, no window has more than the bound. Up to 12, the answer is
// exact; above, who waits the log's grain longer passes.
func TestNeverMoreThanTheBound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, most := range []int{1, 2, 6, 12, 13, 40, 200, 70_000} {
		for _, window := range []time.Duration{100 * time.Millisecond, 30 * time.Second, 2 * time.Hour} {
			table := NewTable(0)
			var log slowLog
			now := time.Duration(r.Int64N(1e9)) * time.Microsecond
			for range 3000 {
				now += time.Duration(r.ExpFloat64()*float64(window)/float64(most)) / 1000 * 1000
				if r.IntN(200) == 0 {
					now += time.Duration(r.Int64N(int64(4 * window)))
				}
				now = now.Truncate(tick(window))
				ok, wait := table.Take(now, one(1, most, window))
				used := log.used(now, window)
				switch {
				case ok && used >= most:
					t.Fatalf("%d/%v at %v: passes with %d", most, window, now, used)
				case !ok && most <= maxRuns && used < most:
					t.Fatalf("%d/%v at %v: refused with %d", most, window, now, used)
				case !ok && log.used(now, window+window/(maxRuns-1)+2*tick(window)) < most:
					t.Fatalf("%d/%v at %v: refused with %d, and even in a longer window", most, window, now, used)
				case ok != (wait == 0) || wait > window+tick(window):
					t.Fatalf("%d/%v at %v: %v, wait %v", most, window, now, ok, wait)
				}
				if ok {
					log = append(log, now)
				} else if later, _ := table.Take(now+wait, one(1, most, window)); !later {
					t.Fatalf("%d/%v at %v: refused again after the wait of %v", most, window, now, wait)
				} else {
					now += wait
					log = append(log, now)
				}
			}
		}
	}
}

// A burst up to the bound passes, and all of it may come again one window
// later, at the edge.
func TestBurstsPass(t *testing.T) {
	table := NewTable(0)
	for round := range 4 {
		now := time.Duration(round) * 10 * time.Second
		for i := range 200 {
			if ok, _ := table.Take(now, one(7, 200, 10*time.Second)); !ok {
				t.Fatalf("round %d: attempt %d refused", round, i)
			}
		}
		if ok, wait := table.Take(now, one(7, 200, 10*time.Second)); ok || wait != 10*time.Second {
			t.Fatalf("round %d: %v, wait %v; want refused for 10s", round, ok, wait)
		}
	}
}

// The levels above bound what the keys below can sum up to; a refusal above
// costs nothing below.
func TestLevels(t *testing.T) {
	table := NewTable(0)
	attempt := func(n uint64) *Attempt {
		a := one(n, 2, time.Second)
		a.N = 2
		a.Levels[1] = Level{Key{Hi: 1, Len: 56}, 5}
		return a
	}
	passed := 0
	for n := range uint64(4) {
		for range 3 {
			if ok, _ := table.Take(0, attempt(n)); ok {
				passed++
			}
		}
	}
	if passed != 5 {
		t.Errorf("%d of 12 passed, want 5", passed)
	}
	if used := table.Used(0, attempt(2)); used != [3]int{1, 5} {
		t.Errorf("used %v, want 1 and 5", used)
	}
	if used := table.Used(0, attempt(3)); used != [3]int{0, 5} {
		t.Errorf("used %v, want 0 and 5", used)
	}
}

// A flood of new keys takes the room that is left, and no more. It resets
// nobody's count, and newcomers of other networks still come in.
func TestFloodResetsNobody(t *testing.T) {
	table := NewTable(64 * 100)
	victim := one(5<<32|9, 3, time.Minute)
	for range 3 {
		table.Take(0, victim)
	}
	passed := 0
	for i := range uint64(100_000) {
		if ok, _ := table.Take(time.Second, one(6<<32|i, 3, time.Minute)); ok {
			passed++
		}
	}
	if ok, _ := table.Take(2*time.Second, victim); ok {
		t.Error("the flood washed off the victim's count")
	}
	if most := 64*100 + 64*3*32; passed > most {
		t.Errorf("%d attempts of the flood passed, want at most %d", passed, most)
	}
	if ok, _ := table.Take(2*time.Second, one(7<<32, 3, time.Minute)); !ok {
		t.Error("a newcomer of another network was refused")
	}
	if n := table.Len(); n > 64*(100+6) {
		t.Errorf("%d keys in a table for %d", n, 64*100)
	}
	// When the window has passed, the room is free again.
	for i := range uint64(100) {
		if ok, _ := table.Take(3*time.Minute, one(8<<32|i, 3, time.Minute)); !ok {
			t.Fatalf("key %d refused though all others are dead", i)
		}
	}
}

// Many at once get no more than one by one, at every level.
func TestParallelTakes(t *testing.T) {
	table := NewTable(0)
	var passed atomic.Int64
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				a := one(uint64(worker%2), 100, time.Minute)
				a.N = 2
				a.Levels[1] = Level{Key{Hi: 1, Len: 56}, 150}
				if ok, _ := table.Take(time.Duration(i), a); ok {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 150 {
		t.Errorf("%d pass, want 150", passed.Load())
	}
}

// The index finds every key after removals in any order.
func TestIndexAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	sh := &shard{most: 1 << 20}
	want := map[uint64]bool{}
	for range 20_000 {
		hash := (1 + r.Uint64N(500)) * 0x9e3779b97f4a7c15
		switch {
		case !want[hash]:
			sh.insert(0, hash)
			want[hash] = true
		case r.IntN(2) == 0:
			for n := range sh.count {
				if e := sh.entry(uint32(n)); e.hash == hash {
					sh.remove(uint32(n))
					break
				}
			}
			delete(want, hash)
		}
	}
	for i := range uint64(500) {
		hash := (1 + i) * 0x9e3779b97f4a7c15
		if got := sh.lookup(hash) != nil; got != want[hash] {
			t.Errorf("hash %x: found %v, want %v", hash, got, want[hash])
		}
	}
}

func TestConns(t *testing.T) {
	c := NewConns()
	a := one(1, 2, 0)
	for i, want := range []bool{true, true, false} {
		if got := c.Acquire(a); got != want {
			t.Fatalf("connection %d: %v, want %v", i, got, want)
		}
	}
	c.Release(a)
	if !c.Acquire(a) {
		t.Fatal("want one more after a release")
	}
	c.Release(a)
	c.Release(a)
	for i := range c.shards {
		if n := len(c.shards[i].alive); n != 0 {
			t.Errorf("shard %d keeps %d keys", i, n)
		}
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	table := NewTable(0)
	a := one(1, 1<<20, time.Second)
	if n := testing.AllocsPerRun(1000, func() { table.Take(0, a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A million keys take at most 128 bytes each, everything included.
func TestMemoryPerKey(t *testing.T) {
	const keys = 1_000_000
	before := heap()
	table := NewTable(2 * keys)
	for i := range uint64(keys) {
		table.Take(0, one(i*0x9e3779b97f4a7c15, 6, time.Minute))
	}
	outside := len(table.slab.mapped.all)*slabSize - len(table.slab.rest)
	if outside < keys*64 {
		t.Errorf("%d bytes are in huge pages, want most", outside)
	}
	perKey := (float64(heap()-before) + float64(outside)) / keys
	runtime.KeepAlive(table)
	t.Logf("%.1f bytes a key", perKey)
	if perKey > 128 {
		t.Errorf("%.1f bytes a key, want at most 128", perKey)
	}
}

// What a table has mapped goes with it.
func TestMemoryGoes(t *testing.T) {
	table := NewTable(1 << 20)
	for i := range uint64(1 << 20) {
		table.Take(0, one(i*0x9e3779b97f4a7c15, 6, time.Minute))
	}
	var starts []uintptr
	for _, b := range table.slab.mapped.all {
		starts = append(starts, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	}
	if len(starts) < 4 || !isMapped(t, starts[0]) {
		t.Fatalf("%d mappings, want some that can be seen", len(starts))
	}
	runtime.KeepAlive(table)
	table = nil
	for deadline := time.After(time.Minute); slices.ContainsFunc(starts, func(at uintptr) bool { return isMapped(t, at) }); {
		runtime.GC()
		select {
		case <-deadline:
			t.Fatal("the mappings of a table that nobody has are still there")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// isMapped reports whether an address is one of this process.
func isMapped(t *testing.T, at uintptr) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var first, end uintptr
		if _, err := fmt.Sscanf(line, "%x-%x ", &first, &end); err == nil && first <= at && at < end {
			return true
		}
	}
	return false
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The CPU time is that of both cores: it stays the same with one and with two
// (-cpu 1,2) as long as no lock is waited for.
func BenchmarkTakeOneKey(b *testing.B)      { benchmarkTake(b, 1) }
func BenchmarkTakeMillionKeys(b *testing.B) { benchmarkTake(b, 1<<20) }

func benchmarkTake(b *testing.B, keys uint64) {
	table := NewTable(2 << 20)
	for i := range keys {
		table.Take(0, one(i*0x9e3779b97f4a7c15, 1<<20, time.Minute))
	}
	b.ReportAllocs()
	began := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(7, 8))
		a := one(1, 1<<20, time.Minute)
		for now := time.Duration(0); pb.Next(); now += 100 {
			a.Levels[0].Key.Hi = r.Uint64N(keys) * 0x9e3779b97f4a7c15
			table.Take(now, a)
		}
	})
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
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
