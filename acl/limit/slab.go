package limit

import (
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A slab is memory in huge pages, for tables of hundreds of thousands of keys:
// there a lookup costs what it misses, and in pages of 4 KiB each miss of the
// cache is one of the TLB too (a quarter of the time of Take with a million
// keys). It only grows, outside of the heap, whose memory begins amid a page,
// and goes with its table. Nothing in it may hold a pointer.
type slab struct {
	mu     sync.Mutex // guards the fields below
	rest   []byte
	mapped *mappings
}

// The mappings of a slab.
type mappings struct{ all [][]byte }

func (m *mappings) free() {
	for _, b := range m.all {
		_ = unix.Munmap(b) // it was mapped, as a whole
	}
}

const (
	slabSize = 16 << 20
	hugePage = 2 << 20
)

// newSlab returns an empty slab that owner needs no longer than it lives.
func newSlab(owner *Table) slab {
	m := new(mappings)
	runtime.AddCleanup(owner, (*mappings).free, m)
	return slab{mapped: m}
}

// carve returns n zero values of s, n times their size at most slabSize and a
// multiple of 8 bytes.
func carve[T any](s *slab, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) < size {
		s.grow()
	}
	at := unsafe.Pointer(unsafe.SliceData(s.rest))
	s.rest = s.rest[size:]
	return unsafe.Slice((*T)(at), n)
}

// grow maps more, with s.mu held. Where the system does not want to, it comes
// from the heap; where it gives no huge pages, all works as before, slower.
func (s *slab) grow() {
	b, err := unix.Mmap(-1, 0, slabSize+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		s.rest = make([]byte, slabSize)
		return
	}
	s.mapped.all = append(s.mapped.all, b)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (hugePage - 1)
	s.rest = b[skip : skip+slabSize]
	_ = unix.Madvise(s.rest, unix.MADV_HUGEPAGE)
}
