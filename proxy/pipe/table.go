package pipe

import (
	"errors"
	"sync"
	"sync/atomic"
)

const (
	chunkBits = 12
	maxChunks = 256 // × 4,096 = 1,048,576 streams a loop
)

var errFull = errors.New("pipe: a loop has 1048576 streams; raise Config.Loops")

// A table finds the stream that an event is about. Any goroutine may put; at
// takes no lock. An entry never moves.
type table struct {
	chunks [maxChunks]atomic.Pointer[chunk]

	mu    sync.Mutex // guards what is below
	spare []uint32
	top   uint32 // entries ever used
}

type chunk [1 << chunkBits]atomic.Pointer[Stream]

// put gives s its index. False: the table is full.
func (t *table) put(s *Stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.spare); n > 0 {
		s.index = t.spare[n-1]
		t.spare = t.spare[:n-1]
	} else if t.top < maxChunks<<chunkBits {
		s.index = t.top
		t.top++
		if c := &t.chunks[s.index>>chunkBits]; c.Load() == nil {
			c.Store(new(chunk))
		}
	} else {
		return false
	}
	t.entry(s.index).Store(s)
	return true
}

func (t *table) entry(i uint32) *atomic.Pointer[Stream] {
	return &t.chunks[i>>chunkBits].Load()[i&(1<<chunkBits-1)]
}

// at returns the stream at i, nil when it ended.
func (t *table) at(i uint32) *Stream { return t.entry(i).Load() }

// clear makes at(i) nil; i is not given out again before free.
func (t *table) clear(i uint32) { t.entry(i).Store(nil) }

// free gives cleared entries back.
func (t *table) free(entries []uint32) {
	if len(entries) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spare = append(t.spare, entries...)
}

// each calls f for every stream that is there.
func (t *table) each(f func(*Stream)) {
	t.mu.Lock()
	top := t.top
	t.mu.Unlock()
	for i := range top {
		if s := t.at(i); s != nil {
			f(s)
		}
	}
}
