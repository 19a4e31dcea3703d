package http2

import (
	"time"

	h2 "golang.org/x/net/http2"
)

// A stream whose answer is whole, while the client still sends, stays for
// lingerTime. RFC 9113 §8.1 allows to reset it at once with NO_ERROR, which
// some clients take for a failure of what they were answered; and only of a
// stream that is there can be told that the rest of its request is malformed
// (§8.1.1), so that a client who breaks the rules would learn it or not as the
// backend is slow or fast.

// stay keeps st, which is among the streams, until the client has sent its
// end, or for lingerTime.
func (st *stream) stay() {
	st.mu.Lock()
	if st.err == nil {
		st.err = errStopped
	}
	ended := st.ended
	st.mu.Unlock()
	st.c.giveBack(0, st.leftover())
	if ended { // meanwhile
		st.c.forget(st)
		return
	}
	time.AfterFunc(lingerTime, st.leave)
}

// leave resets a stream that has stayed long enough.
func (st *stream) leave() {
	c := st.c
	c.mu.Lock()
	there := !st.dropped
	if there {
		c.remove(st)
		c.noteReset(st.id)
	}
	c.mu.Unlock()
	if there {
		c.write(func() error { return c.writes.WriteRSTStream(st.id, h2.ErrCodeNo) })
		c.settle()
	}
}

// stays reports whether st is answered.
func (c *Conn) stays(st *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return st.stays
}

// forget takes st out of the streams once both sides have ended.
func (c *Conn) forget(st *stream) {
	c.mu.Lock()
	c.remove(st)
	c.mu.Unlock()
	c.settle()
}

// noteReset notes that we reset a stream. c.mu is held.
func (c *Conn) noteReset(id uint32) {
	c.ours[c.oursNext%len(c.ours)] = id
	c.oursNext++
}

// settle is called when a stream is over: without any the connection is idle.
func (c *Conn) settle() {
	c.mu.Lock()
	last := len(c.streams) == 0
	c.mu.Unlock()
	if last && c.s.draining.Load() {
		c.guard.StrikeRead()
	} else if last {
		c.guard.Read(c.s.config.IdleTimeout)
	}
}
