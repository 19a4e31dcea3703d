package pipe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"genkan/proxy/descriptors"
)

// Config is what an Engine is made of. The zero Config is a good one.
type Config struct {
	// Loops is the number of event loops. Zero or negative: one per CPU.
	Loops int

	// Buffer is how many bytes are read at once, and the most that is kept in
	// memory for one direction whose receiver is slow. Zero or negative: 16 KiB.
	Buffer int

	// Pipes bounds the kernel pipes of one loop (each up to 1 MiB, in use only
	// while bulk data is under way). Zero: 256. Negative: no splice.
	Pipes int

	// Log hears of failing accepts, once an episode. Nil discards.
	Log *slog.Logger
}

// An Engine relays streams until it is closed. New makes one.
type Engine struct {
	loops  []*loop
	buffer int
	log    *slog.Logger
	bounds descriptors.Bounds
	turn   atomic.Uint32 // round robin of loops
	active atomic.Int64
	empty  chan struct{} // a token when active fell to zero
	wait   sync.WaitGroup

	mu        sync.Mutex // guards what is below
	closed    bool
	slow      map[*slowPair]struct{}
	listeners map[*Listener]struct{}
}

// New starts an engine. It raises GOMAXPROCS to the number of loops + 2 where it
// is lower, since a busy loop keeps its P while it waits.
func New(cfg Config) (*Engine, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.NumCPU()
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = 16 << 10
	}
	if cfg.Pipes == 0 {
		cfg.Pipes = 256
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		buffer: cfg.Buffer,
		log:    cfg.Log,
		bounds: descriptors.Now(),
		empty:  make(chan struct{}, 1),
		slow:   make(map[*slowPair]struct{}),

		listeners: make(map[*Listener]struct{}),
	}
	for range cfg.Loops {
		l, err := newLoop(e, cfg)
		if err != nil {
			for _, l := range e.loops {
				l.release()
			}
			return nil, fmt.Errorf("pipe: start an event loop: %w", err)
		}
		e.loops = append(e.loops, l)
	}
	if runtime.GOMAXPROCS(0) < cfg.Loops+2 {
		runtime.GOMAXPROCS(cfg.Loops + 2)
	}
	for _, l := range e.loops {
		e.wait.Go(l.run)
	}
	return e, nil
}

// Active returns the number of streams that have not ended, those that wait for
// their backend included.
func (e *Engine) Active() int { return int(e.active.Load()) }

// Relay carries the stream between two connected sockets until it ends, and
// returns at once. It takes both connections over, also when it fails: the
// caller must neither use nor close them any more.
func (e *Engine) Relay(client, backend net.Conn, o Options) *Stream {
	s := e.newStream(o)
	c, okClient := client.(*net.TCPConn)
	b, okBackend := backend.(*net.TCPConn)
	if !okClient || !okBackend {
		e.startSlow(s, client, backend, o)
		return s
	}
	var err error
	if s.ends[0].fd, err = steal(c); err != nil {
		backend.Close()
		e.finish(s, Result{Reason: Failed, Side: Client, Err: err})
		return s
	}
	if s.ends[1].fd, err = steal(b); err != nil {
		closeFD(s.ends[0].fd)
		e.finish(s, Result{Reason: Failed, Side: Backend, Err: err})
		return s
	}
	prepare(s.ends[0].fd)
	prepare(s.ends[1].fd)
	e.next().add(s)
	return s
}

// Forward connects to p.Backend without a goroutine, then relays as [Engine.Relay]
// does. It takes client over in any case. A client that is not a *net.TCPConn is
// refused with Failed: connect and Relay it.
func (e *Engine) Forward(client net.Conn, p Plan) *Stream {
	s := e.newStream(p.Options)
	c, ok := client.(*net.TCPConn)
	if !ok {
		client.Close()
		e.finish(s, Result{Reason: Failed, Side: Client, Err: fmt.Errorf("pipe: forward a %T: only *net.TCPConn", client)})
		return s
	}
	fd, err := steal(c)
	if err != nil {
		e.finish(s, Result{Reason: Failed, Side: Client, Err: err})
		return s
	}
	s.ends[0].fd = fd
	prepare(fd)
	s.dial = &dialing{Plan: p}
	e.next().add(s)
	return s
}

// Accept takes ln over and accepts its connections until the returned Listener
// or the engine is closed. ln is closed, as the runtime's poller would otherwise
// wake up for each connection too; the socket goes on listening.
//
// handle decides on each connection, on a loop: it must not block.
//
// Make ln with net.ListenConfig.SetMultipathTCP(false): Go's default costs system
// calls for each connection, and such sockets cannot be spliced.
func (e *Engine) Accept(ln *net.TCPListener, handle func(*Conn)) (*Listener, error) {
	a, err := newListener(e, ln, handle)
	if err != nil {
		return nil, fmt.Errorf("pipe: accept on %s: %w", ln.Addr(), err)
	}
	for _, l := range e.loops {
		if err := l.listen(a); err != nil {
			a.Close()
			return nil, fmt.Errorf("pipe: accept on %s: %w", a.addr, err)
		}
	}
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.listeners[a] = struct{}{}
	}
	e.mu.Unlock()
	if closed {
		a.Close()
		return nil, fmt.Errorf("pipe: accept on %s: %w", a.addr, errClosed)
	}
	return a, nil
}

// Drain waits until no stream is left or ctx is done, and returns ctx's error
// then. It stops nothing: close the Listeners before.
func (e *Engine) Drain(ctx context.Context) error {
	for e.active.Load() > 0 {
		select {
		case <-e.empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close closes the listeners, resets what is left with [Shutdown], and returns
// when every loop and goroutine has ended. Streams handed over later end in Shutdown at once. Close
// may be called twice, but not from Options.Done, Plan.Failed or a function that
// handles connections.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	pairs := slices.Collect(maps.Keys(e.slow))
	listeners := slices.Collect(maps.Keys(e.listeners))
	e.mu.Unlock()
	for _, a := range listeners {
		a.Close()
	}
	for _, p := range pairs {
		p.abort(Result{Reason: Shutdown})
	}
	for _, l := range e.loops {
		l.stop()
	}
	e.wait.Wait()
}

func (e *Engine) next() *loop {
	return e.loops[e.turn.Add(1)%uint32(len(e.loops))]
}

// finish gives the result out. Both sockets are closed by now.
func (e *Engine) finish(s *Stream, r Result) {
	r.Up, r.Down = s.Bytes()
	if s.done != nil {
		s.done(r)
		s.done = nil
	}
	if e.active.Add(-1) == 0 {
		select {
		case e.empty <- struct{}{}:
		default:
		}
	}
}

func (e *Engine) newStream(o Options) *Stream {
	e.active.Add(1)
	s := &Stream{engine: e, done: o.Done, slot: -1}
	s.ends[0].fd, s.ends[1].fd = -1, -1
	s.limits(o)
	return s
}

var errClosed = errors.New("pipe: engine closed")
