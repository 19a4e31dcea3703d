package http1

import (
	"bytes"
	"crypto/tls"
	"errors"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
)

// Start serves a connection whose net.Conn is a *fiber.Conn, on its loop, and
// returns at once; done is called on the loop when the connection has ended.
// While it waits for a request it has neither a goroutine nor a buffer.
//
// What is not for a loop leaves it, for good: a request whose body is passed
// on while the answer is awaited, a websocket.
func (c *Conn) Start(done func()) {
	c.done, c.wake = done, c.awake
	c.s.track(c, true)
	loop := c.loops.Loop()
	if !loop.Post(func() { loop.Go(c.park) }) {
		c.finish()
	}
}

// finish ends the connection.
func (c *Conn) finish() {
	c.end()
	c.s.track(c, false)
	c.done()
}

// park waits for the next request without a fiber.
func (c *Conn) park() {
	c.wire.release()
	c.req.Reset() // its text is longer than all else
	giveBackHeader(c.req.Header)
	c.req.Header = nil
	c.guard.Read(c.idleTime())
	c.idle.Store(true)
	if c.s.draining.Load() {
		c.guard.Read(drainGrace)
	}
	if c.swap != nil {
		c.parkTLS()
		return
	}
	c.loops.OnReadable(c.wake)
}

// awake goes on where something has come, in a fiber.
func (c *Conn) awake() {
	if c.swap != nil && len(c.unread()) == 0 {
		c.parkTLS()
	} else {
		c.serveOnLoop()
	}
}

// parkTLS is the rest of park for TLS, whose session may have read more from
// the connection than it has given us: only a Read tells.
func (c *Conn) parkTLS() {
	c.buf, c.r, c.w = borrow(), 0, 0
	var err error
	c.loops.Dry(func() { c.w, err = c.conn.Read(c.buf) })
	switch {
	case c.w > 0:
		c.idle.Store(false)
		c.loops.Loop().Later(c.wake)
	case errors.Is(err, fiber.ErrDry):
		c.wire.release()
		c.loops.OnReadable(c.wake)
	default:
		c.finish()
	}
}

// serveOnLoop answers requests until none is there, in a fiber.
func (c *Conn) serveOnLoop() {
	for {
		keep, err := c.next()
		switch {
		case err != nil:
			c.refuse(err)
			c.finish()
			return
		case c.prefaced:
			c.handOver()
			return
		case c.req.Upgrade || c.streams():
			c.leaveLoop(keep)
			return
		case !c.exchange(keep):
			c.finish()
			return
		case len(c.unread()) == 0:
			c.park()
			return
		}
	}
}

// A Handover is a connection that turned out to speak HTTP/2.
type Handover struct {
	Conn *fiber.Conn
	// Session is TLS over it, with Swap between them; nil: it speaks plain.
	Session *tls.Conn
	Swap    *fiber.Swap
	Read    []byte // what the client has sent already
	Source  message.Source
	Handler message.Handler
	Done    func() // of Start
}

// handOver gives the connection to the front that speaks HTTP/2.
func (c *Conn) handOver() {
	session, _ := c.conn.(*tls.Conn)
	over := Handover{
		Conn: c.loops, Session: session, Swap: c.swap, Read: bytes.Clone(c.unread()),
		Source: c.req.Source, Handler: c.h, Done: c.done,
	}
	c.guard.Release()
	c.s.track(c, false)
	c.r = c.w
	c.wire.release()
	c.s.config.Preface(over)
}

// streams reports whether the request's body will be passed on while the
// answer is awaited, which takes a second goroutine.
func (c *Conn) streams() bool {
	r := &c.req
	return r.Length < 0 || r.Length > SmallBody || r.Expect
}

// leaveLoop goes on in a goroutine, which done ends.
func (c *Conn) leaveLoop(keep bool) {
	session := c.conn // where it is TLS
	tcp, err := c.loops.Detach()
	if err != nil {
		c.finish()
		return
	}
	c.guard.Release()
	guard := c.s.config.Sweeper.Guard(tcp, c.lookForEnd)
	guard.Over(c.expire)
	c.mu.Lock()
	c.init(tcp, guard)
	if c.swap != nil {
		c.swap.Conn, c.conn, c.raw = tcp, session, nil
	}
	if c.wasCut {
		guard.Strike()
	}
	c.mu.Unlock()
	c.req.Loop = nil
	go func() {
		defer c.finish()
		if c.exchange(keep) {
			c.serve()
		}
	}()
}
