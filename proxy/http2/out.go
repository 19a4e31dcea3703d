package http2

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
)

// What waits to be sent to one client: at maxOut a stream waits with more, at
// twice that nothing is read any more from a client that has us answer.
const (
	maxOut  = 32 << 10
	outRoom = 2 * maxOut // of a buffer: what is more than that is rare
)

// rooms lends buffers while they hold something. (A sync.Pool is a cache of
// the runtime's, not state of ours.)
var rooms = sync.Pool{New: func() any { return new([outRoom]byte) }}

func borrow() []byte { return rooms.Get().(*[outRoom]byte)[:0] }

// giveBack returns what borrow lent; a buffer that grew is left to the
// garbage collector.
func giveBack(b []byte) {
	if cap(b) == outRoom {
		rooms.Put((*[outRoom]byte)(b[:outRoom]))
	}
}

// An outbox has the frames that are to be sent, from any stream, fiber or
// goroutine; a fiber of the connection's loop sends what has gathered.
type outbox struct {
	mu      sync.Mutex // guards what follows
	buf     []byte     // nil where nothing waits
	sending bool       // or about to
	err     error      // why nothing more can be sent
	waiting []*bell    // of those who have more
}

// Write appends p: it is what the Framer calls.
func (o *outbox) Write(p []byte) (int, error) {
	if o.buf == nil {
		o.buf = borrow()
	}
	o.buf = append(o.buf, p...)
	return len(p), nil
}

// data appends a DATA frame, at most maxFrame of content.
func (o *outbox) data(id uint32, end bool, p []byte) {
	var head [frameHeader]byte
	head[0], head[1], head[2] = byte(len(p)>>16), byte(len(p)>>8), byte(len(p))
	head[3] = byte(h2.FrameData)
	if end {
		head[4] = byte(h2.FlagDataEndStream)
	}
	binary.BigEndian.PutUint32(head[5:], id)
	o.Write(head[:])
	o.Write(p)
}

// takes reports whether there is room for more; where there is none, b rings
// once there is.
func (o *outbox) takes(b *bell, limit int) bool {
	if o.err != nil || len(o.buf) < limit {
		return true
	}
	if !slices.Contains(o.waiting, b) {
		o.waiting = append(o.waiting, b)
	}
	return false
}

// write runs f, which appends frames, and has them sent soon: together with
// what others write meanwhile.
func (c *Conn) write(f func() error) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.append(f)
}

// append is write with c.out.mu held.
func (c *Conn) append(f func() error) error {
	if c.out.err != nil {
		return c.out.err
	}
	err := f()
	if !c.out.sending && c.loop.Post(c.sendSoon) {
		c.out.sending = true
	}
	return err
}

// write is Conn.write where there is room, else once there is. The sending
// fiber sees to it that this comes to an end.
func (st *stream) write(f func() error) error {
	o := &st.c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.takes(&st.bell, maxOut) {
		o.mu.Unlock()
		st.bell.wait(unbounded)
		err := st.failed()
		o.mu.Lock()
		if err != nil {
			o.waiting = slices.DeleteFunc(o.waiting, func(b *bell) bool { return b == &st.bell })
			return err
		}
	}
	return st.c.append(f)
}

// breathe waits while there is much that the client does not take.
func (c *Conn) breathe() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for !c.out.takes(&c.bell, 2*maxOut) {
		c.out.mu.Unlock()
		c.bell.gate.Wait()
		c.out.mu.Lock()
	}
}

// send sends what was written until nothing is left, in a fiber. There is one
// at a time.
func (c *Conn) send() {
	for {
		c.out.mu.Lock()
		p := c.out.buf
		if c.out.sending = len(p) > 0 && c.out.err == nil; !c.out.sending {
			c.out.mu.Unlock()
			c.bell.ring() // the end of the connection waits for it
			return
		}
		c.out.buf = nil
		patience := c.patience
		c.out.mu.Unlock()

		err := c.transmit(p, patience)
		giveBack(p)
		c.out.mu.Lock()
		if c.out.err == nil {
			c.out.err = err
		}
		waiting := c.out.waiting
		c.out.waiting = nil
		c.out.mu.Unlock()
		for _, b := range waiting {
			b.ring()
		}
		if err != nil {
			c.guard.StrikeRead() // the connection is over
		}
	}
}

// transmit sends p, each piece of it within its deadline.
func (c *Conn) transmit(p []byte, patience time.Duration) (err error) {
	for len(p) > 0 && err == nil {
		piece := p[:min(len(p), maxOut)]
		p = p[len(piece):]
		c.guard.Write(patience)
		if c.sealed != nil {
			err = c.sealed.write(piece)
		} else {
			_, err = c.raw.Write(piece)
		}
		c.guard.Write(0)
	}
	if err != nil && c.guard.WriteStruck() && !c.guard.ReadStruck() {
		c.s.config.Bite.Tell(message.LimitWriteTime) // not Cut, which strikes both sides
	}
	return err
}

// close lets nobody write any more.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = errGone
	}
	giveBack(o.buf)
	o.buf = nil
}

// A sealed is what a TLS session writes to. Fibers of one loop must not wait
// within the session, where the next would find a lock that blocks the loop:
// so the session is given all the room it wants, and what it has written is
// sent behind its back.
type sealed struct {
	*fiber.Conn
	session *tls.Conn
	buf     []byte
	sending bool
}

// maxUnasked is what a session may want to say of itself while the client
// does not take what we send: it answers its key updates.
const maxUnasked = 4 << 10

var errDeaf = errors.New("the client has TLS answer, and does not read")

// Write implements net.Conn for the session.
func (s *sealed) Write(p []byte) (int, error) {
	if s.sending && len(s.buf)+len(p) > maxUnasked {
		return 0, errDeaf
	}
	if s.buf == nil {
		s.buf = borrow()
	}
	s.buf = append(s.buf, p...)
	return len(p), nil
}

// SetWriteDeadline is not for the session, which sets one as it says goodbye.
func (*sealed) SetWriteDeadline(time.Time) error { return nil }

// write encrypts p and sends it, and what the session had to say before.
func (s *sealed) write(p []byte) error {
	_, serr := s.session.Write(p)
	if err := s.flush(); err != nil {
		return err
	}
	return serr
}

// flush sends what the session has written.
func (s *sealed) flush() error {
	p := s.buf
	if len(p) == 0 {
		return nil
	}
	s.buf, s.sending = nil, true
	_, err := s.Conn.Write(p)
	s.sending = false
	giveBack(p)
	return err
}
