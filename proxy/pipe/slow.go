package pipe

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A slowPair relays between connections that only Go can read, with two
// goroutines.
type slowPair struct {
	engine *Engine
	stream *Stream
	conns  [2]net.Conn
	idle   time.Duration
	life   time.Time // zero: no limit
	last   atomic.Int64
	begun  time.Time
	left   atomic.Int32 // directions under way

	mu     sync.Mutex // guards what is below
	result Result     // the first reason counts
	timer  *time.Timer
}

// startSlow starts the two goroutines.
func (e *Engine) startSlow(s *Stream, client, backend net.Conn, o Options) {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	p := &slowPair{engine: e, stream: s, conns: [2]net.Conn{client, backend}, idle: o.Idle, begun: time.Now()}
	if o.Lifetime > 0 {
		p.life = p.begun.Add(o.Lifetime)
	}
	s.slow = p
	s.half[0].rest = nil
	p.left.Store(2)

	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		p.abort(Result{Reason: Shutdown})
		e.finish(s, p.result)
		return
	}
	e.slow[p] = struct{}{}
	e.wait.Go(func() { p.copy(0, o.Head) })
	e.wait.Go(func() { p.copy(1, nil) })
	e.mu.Unlock()
	p.check()
}

// abort closes both connections so that the peers see it was cut: no
// close_notify (RFC 8446 §6.1) and a reset.
func (p *slowPair) abort(r Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.result.Reason != 0 {
		return
	}
	p.result = r
	p.stopTimer()
	for _, c := range p.conns {
		for {
			inner, ok := c.(interface{ NetConn() net.Conn })
			if !ok {
				break
			}
			c = inner.NetConn()
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.Close()
	}
}

// check ends the stream where a limit is over, else comes again when one may be.
func (p *slowPair) check() {
	now := time.Now()
	idleLeft := p.idle - (now.Sub(p.begun) - time.Duration(p.last.Load()))
	lifeLeft := p.life.Sub(now)
	if p.idle > 0 && idleLeft <= 0 {
		p.abort(Result{Reason: Idle})
		return
	}
	if !p.life.IsZero() && lifeLeft <= 0 {
		p.abort(Result{Reason: Lifetime})
		return
	}
	wait := idleLeft
	if p.idle <= 0 || (!p.life.IsZero() && lifeLeft < idleLeft) {
		wait = lifeLeft
	}
	if wait <= 0 {
		return // no limit
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.result.Reason == 0 && p.left.Load() > 0 {
		p.timer = time.AfterFunc(wait, p.check)
	}
}

func (p *slowPair) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// copy carries direction d, head first, to its end.
func (p *slowPair) copy(d int, head []byte) {
	p.carry(d, head)
	if p.left.Add(-1) > 0 {
		return
	}
	p.end(Result{Reason: EOF, Side: p.stream.first})
	p.engine.mu.Lock()
	delete(p.engine.slow, p)
	p.engine.mu.Unlock()
	p.engine.finish(p.stream, p.result)
}

func (p *slowPair) carry(d int, head []byte) {
	src, dst := p.conns[d], p.conns[1-d]
	if len(head) > 0 && !p.write(d, head) {
		return
	}
	buf := make([]byte, p.engine.buffer)
	for {
		n, err := src.Read(buf)
		if n > 0 && !p.write(d, buf[:n]) {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			p.touch()
			p.passEOF(d, dst)
			return
		default:
			p.abort(slowFailure(Side(d+1), err))
			return
		}
	}
}

func (p *slowPair) write(d int, b []byte) bool {
	n, err := p.conns[1-d].Write(b)
	p.stream.half[d].moved.Add(int64(n))
	p.touch()
	if err != nil {
		p.abort(slowFailure(Side(2-d), err))
	}
	return err == nil
}

// passEOF half-closes dst. What cannot be half-closed is closed: the stream is
// over then.
func (p *slowPair) passEOF(d int, dst net.Conn) {
	p.mu.Lock()
	if p.stream.first == Neither {
		p.stream.first = Side(d + 1)
	}
	p.mu.Unlock()
	half, ok := dst.(interface{ CloseWrite() error })
	if !ok {
		p.end(Result{Reason: EOF, Side: Side(d + 1)})
		return
	}
	if err := half.CloseWrite(); err != nil {
		p.abort(slowFailure(Side(2-d), err))
	}
}

// end closes both connections in good order, unless the stream is over.
func (p *slowPair) end(r Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.result.Reason != 0 {
		return
	}
	p.result = r
	p.stopTimer()
	p.conns[0].Close()
	p.conns[1].Close()
}

func (p *slowPair) touch() { p.last.Store(int64(time.Since(p.begun))) }

func slowFailure(side Side, err error) Result {
	reason := Failed
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, io.ErrUnexpectedEOF) {
		reason = Reset // a TLS stream that ends without close_notify included
	}
	return Result{Reason: reason, Side: side, Err: err}
}
