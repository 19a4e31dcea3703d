// Package sweep gives connections deadlines that cost one atomic store each.
//
// A SetDeadline call on a socket moves a timer in the runtime, and an HTTP
// exchange would need eight of them. Here a connection only notes by when it
// wants to be done, and one goroutine looks over all of them twice a second:
//
//	s := sweep.New()
//	go s.Run(ctx)
//	g := s.Guard(conn)
//	defer g.Release()
//	g.Read(5 * time.Second) // a Read that has not ended in 5 to 5.5 s fails
//	n, err := conn.Read(p)
package sweep

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Tick is how often the connections are looked over: a deadline is at most
// this much late.
const Tick = 500 * time.Millisecond

// fired marks a side whose deadline has struck. It stays: a connection that
// was late once is not used again.
const fired = -1

// past is a deadline that fails every pending and later call at once.
var past = time.Unix(1, 0)

// A Sweeper watches connections. Use New.
type Sweeper struct {
	start time.Time

	mu   sync.Mutex // guards head and the links of all Guards
	head Guard      // a ring
}

// New returns a Sweeper without connections. Run makes it work.
func New() *Sweeper {
	s := &Sweeper{start: time.Now()}
	s.head.next, s.head.prev = &s.head, &s.head
	return s
}

// Run looks over the connections until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	t := time.NewTicker(Tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.sweep()
		}
	}
}

// sweep strikes every connection that is late.
func (s *Sweeper) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for g := s.head.next; g != &s.head; g = g.next {
		if strike(&g.read, now, fired) {
			g.conn.SetReadDeadline(past)
		}
		if strike(&g.write, now, fired) {
			g.conn.SetWriteDeadline(past)
		}
		if strike(&g.life, now, 0) {
			g.over()
		}
		if since := g.since.Load(); since > 0 && now-since > int64(Tick) {
			g.look()
		}
	}
}

// strike puts mark where a deadline has passed. The swap fails where the owner
// has moved it since, so nobody is struck who was in time.
func strike(at *atomic.Int64, now, mark int64) bool {
	due := at.Load()
	return due > 0 && due <= now && at.CompareAndSwap(due, mark)
}

func (s *Sweeper) now() int64 { return int64(time.Since(s.start)) + 1 }

// A Guard is one connection's deadlines. Its methods may be called by any
// goroutine; of two calls of Read, or of Write, the later counts.
type Guard struct {
	s           *Sweeper
	conn        net.Conn
	read, write atomic.Int64 // ns since s.start; 0: none
	since       atomic.Int64 // of Watch, ns since s.start; 0: not watched
	life        atomic.Int64 // the same, of Life
	look        func()
	over        func() // of Over
	next, prev  *Guard
}

// Guard begins to watch conn. Release ends it. look, where not nil, is what
// Watch calls: it must not block.
func (s *Sweeper) Guard(conn net.Conn, look func()) *Guard {
	g := &Guard{s: s, conn: conn, look: look}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.next, g.prev = s.head.next, &s.head
	g.next.prev, g.prev.next = g, g
	return g
}

// Release ends the watch. It is idempotent.
func (g *Guard) Release() {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	if g.next != nil {
		g.next.prev, g.prev.next = g.prev, g.next
		g.next, g.prev = nil, nil
	}
}

// Read sets how long reading may take from now on; 0 is no bound.
func (g *Guard) Read(d time.Duration) { g.set(&g.read, d) }

// Write sets how long writing may take from now on; 0 is no bound.
func (g *Guard) Write(d time.Duration) { g.set(&g.write, d) }

// Over sets what is called where Life is over, before Life is called: it must
// not block.
func (g *Guard) Over(f func()) { g.over = f }

// Life sets how long it may be from now on until Life is called again; 0 is no
// bound. Where that is over, Over's f may call it.
func (g *Guard) Life(d time.Duration) { g.set(&g.life, d) }

// Begin is Life(d) and Watch(watch), with one look at the clock.
func (g *Guard) Begin(d time.Duration, watch bool) {
	now := g.s.now()
	if watch && g.look != nil {
		g.since.Store(now)
	}
	g.setTo(&g.life, now+int64(d))
}

// Watch has look called at every tick until Watch(false), but not within the
// first: most waits are over before.
func (g *Guard) Watch(on bool) {
	if on && g.look != nil {
		g.since.Store(g.s.now())
	} else {
		g.since.Store(0)
	}
}

func (g *Guard) set(at *atomic.Int64, d time.Duration) {
	var due int64
	if d > 0 {
		due = g.s.now() + int64(d)
	}
	g.setTo(at, due)
}

func (g *Guard) setTo(at *atomic.Int64, due int64) {
	for {
		old := at.Load()
		if old == fired || at.CompareAndSwap(old, due) {
			return
		}
	}
}

// Strike fails what the connection is waiting for, and all later calls.
func (g *Guard) Strike() {
	g.read.Store(fired)
	g.write.Store(fired)
	g.conn.SetDeadline(past)
}

// StrikeRead fails the Read that the connection is waiting for, and later ones.
func (g *Guard) StrikeRead() {
	g.read.Store(fired)
	g.conn.SetReadDeadline(past)
}

// ReadStruck reports whether the reading side was late, or struck.
func (g *Guard) ReadStruck() bool { return g.read.Load() == fired }

// WriteStruck reports whether the writing side was late, or struck.
func (g *Guard) WriteStruck() bool { return g.write.Load() == fired }

// Revive takes a struck reading side back into use, to listen for a little
// longer to somebody whose bytes are not wanted any more.
func (g *Guard) Revive() {
	g.read.Store(0)
	g.conn.SetReadDeadline(time.Time{})
}
