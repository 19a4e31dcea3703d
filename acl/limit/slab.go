package limit

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A slab is memory in huge pages, for tables of hundreds of thousands of keys:
// there a lookup costs what it misses, and in pages of 4 KiB each miss of the
// cache is one of the TLB too (a quarter of the time of Take with a million
// keys). It only grows; the collector frees it with its table. Nothing in it
// may hold a pointer.
type slab struct {
	mu   sync.Mutex // guards rest
	rest []byte
}

const (
	slabSize = 8 << 20
	hugePage = 2 << 20
)

// carve returns n zero values of s, n times their size at most slabSize and a
// multiple of 8 bytes.
func carve[T any](s *slab, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) < size {
		s.rest = make([]byte, slabSize)
		adviseHuge(s.rest)
	}
	at := unsafe.Pointer(unsafe.SliceData(s.rest))
	s.rest = s.rest[size:]
	return unsafe.Slice((*T)(at), n)
}

// adviseHuge asks for huge pages where the system gives them on demand. Where
// it does not, all works as before, slower.
func adviseHuge(b []byte) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := -at & (hugePage - 1)
	whole := (uintptr(len(b)) - skip) &^ (hugePage - 1)
	_ = unix.Madvise(b[skip:skip+whole], unix.MADV_HUGEPAGE)
}
