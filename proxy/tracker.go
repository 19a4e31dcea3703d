package proxy

import (
	"context"
	"sync"

	"genkan/acl"
)

// A tracker knows the client connections that are open and can cut them. It is
// safe for concurrent use.
type tracker struct {
	mu   sync.Mutex // guards open and idle
	open map[*stream]struct{}
	idle chan struct{} // closed when open gets empty; nil while nobody waits
}

// A stream is one open client connection.
type stream struct {
	client acl.Addr

	mu      sync.Mutex // guards the fields below
	end     func()     // ends it at once; nil until it is there
	wantEnd bool
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

func newTracker() *tracker { return &tracker{open: map[*stream]struct{}{}} }

func (t *tracker) add(st *stream) {
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
	t.mu.Lock()
	var victims []*stream
	for st := range t.open {
		if match(st.client) {
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
