package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"genkan/acl"
)

// A tracker knows the client connections that are open and can cut them. It is
// safe for concurrent use.
type tracker struct {
	ids *atomic.Uint64 // the last id that was given

	mu   sync.Mutex // guards open and idle
	open map[*stream]struct{}
	idle chan struct{} // closed when open gets empty; nil while nobody waits
}

// A stream is one open client connection.
type stream struct {
	client  acl.Addr
	network string // "tcp", "udp" or "quic"
	id      uint64 // set by tracker.add
	began   int64  // Unix nanoseconds; set by tracker.add

	at      atomic.Pointer[gateway] // the site or forward that it is for, as far as known
	backend atomic.Pointer[member]  // of a forward; nil: none yet

	mu      sync.Mutex // guards the fields below
	moved   mover      // nil: unknown
	end     func()     // ends it at once; nil until it is there
	wantEnd bool
}

// A mover knows how many bytes it has moved.
type mover interface{ Bytes() (up, down int64) }

// isFor notes what the stream is for. A nil stream is nobody's.
func (st *stream) isFor(g *gateway) {
	if st != nil {
		st.at.Store(g)
	}
}

// movedBy says who moves the stream's bytes.
func (st *stream) movedBy(m mover) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.moved = m
}

// cut ends the stream, or will as soon as it can be.
func (st *stream) cut() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.wantEnd = true
	if st.end != nil {
		st.end()
	}
}

// cutWith says how the stream is cut: end is called at once where that was
// asked for before.
func (st *stream) cutWith(end func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.end = end
	if st.wantEnd {
		end()
	}
}

func newTracker(ids *atomic.Uint64) *tracker {
	return &tracker{ids: ids, open: map[*stream]struct{}{}}
}

func (t *tracker) add(st *stream) {
	st.id, st.began = t.ids.Add(1), time.Now().UnixNano()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[st] = struct{}{}
}

func (t *tracker) remove(st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, st)
	if len(t.open) == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// cut ends all streams that match, and tells how many.
func (t *tracker) cut(match func(acl.Addr) bool) int {
	return t.cutStreams(func(st *stream) bool { return match(st.client) })
}

func (t *tracker) cutStreams(match func(*stream) bool) int {
	t.mu.Lock()
	var victims []*stream
	for st := range t.open {
		if match(st) {
			victims = append(victims, st)
		}
	}
	t.mu.Unlock()
	for _, st := range victims {
		st.cut()
	}
	return len(victims)
}

// drain waits until no stream is open. When ctx ends first it cuts those left,
// waits for them to be gone, and tells how many they were.
func (t *tracker) drain(ctx context.Context) int {
	idle := t.waitIdle()
	select {
	case <-idle:
		return 0
	case <-ctx.Done():
	}
	cut := t.cut(func(acl.Addr) bool { return true })
	<-idle
	return cut
}

// waitIdle gives a channel that is closed once no stream is open.
func (t *tracker) waitIdle() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	return t.idle
}
