package http1

import (
	"errors"
	"io"
	"time"

	"genkan/proxy/message"
)

// settleTime is how long the end of an answer waits for the last bytes of
// the request to be on their way.
const settleTime = 100 * time.Millisecond

// A sender passes a request's body on while the answer is awaited: it is the
// one goroutine that an exchange may have besides its own. It ends before
// the exchange does.
type sender struct {
	done chan struct{} // nil: not started
	err  error         // valid once done is closed
	cont chan bool     // with Expect: whether the backend wants the body
}

func (s *sender) reset() { *s = sender{} }

func (s *sender) start(c *backendConn, r *message.Request) {
	s.done = make(chan struct{})
	if r.Expect {
		s.cont = make(chan bool, 1)
	}
	go func() {
		defer close(s.done)
		s.err = s.run(c, r)
		var client *clientError
		if errors.As(s.err, &client) {
			// The backend must not take half a request for a whole one.
			c.guard.Strike()
		}
	}()
}

// decide tells a sender that waits for 100 (Continue) whether to go on.
func (s *sender) decide(send bool) {
	if s.cont != nil {
		select {
		case s.cont <- send:
		default:
		}
	}
}

var errNotWanted = errors.New("the backend answered without asking for the body")

func (s *sender) run(c *backendConn, r *message.Request) error {
	if s.cont != nil {
		t := time.NewTimer(c.t.config.ContinueTimeout)
		defer t.Stop()
		select {
		case send := <-s.cont:
			if !send {
				return errNotWanted
			}
		case <-t.C:
		}
	}
	buf := borrow()
	defer giveBack(buf)
	for {
		if err := s.splice(c, r); err != nil {
			return err
		}
		n, err := r.Body.Read(buf[chunkHead : len(buf)-chunkTail])
		if n > 0 {
			out := buf[chunkHead : chunkHead+n]
			if r.Length < 0 {
				out = frameChunk(buf, n)
			}
			if err := c.send(out); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return &clientError{err}
		}
	}
	if r.Length < 0 {
		// Trailer fields end here: they could only be believed where a
		// backend expects them, and no IPv4 server is known to.
		return c.send([]byte("0\r\n\r\n"))
	}
	return nil
}

// splice lets the kernel move the body as far as it can.
func (s *sender) splice(c *backendConn, r *message.Request) error {
	b, ok := r.Body.(*requestBody)
	for ok && b.canSplice(c.conn) {
		c.progress()
		c.guard.Write(c.t.config.WriteTimeout)
		_, err := b.spliceTo(c.conn, c.progress)
		c.guard.Write(0)
		if err != nil {
			return b.blame(err)
		}
	}
	return nil
}

func (c *backendConn) send(p []byte) error {
	c.progress()
	c.guard.Write(c.t.config.WriteTimeout)
	_, err := c.conn.Write(p)
	c.guard.Write(0)
	c.progress()
	return err
}

// progress puts the deadline of the answer off, as the request is still on
// its way.
func (c *backendConn) progress() {
	c.waitMu.Lock()
	defer c.waitMu.Unlock()
	if c.waiting {
		c.guard.Read(c.t.config.HeadTimeout)
	}
}

// stop ends the sender after a failure and returns the client's part in it.
func (s *sender) stop(c *backendConn, r *message.Request) error {
	if s.done == nil {
		return nil
	}
	s.decide(false)
	c.guard.Strike()
	r.Body.Stop()
	<-s.done
	var client *clientError
	if errors.As(s.err, &client) && !errors.Is(s.err, errStopped) {
		return client
	}
	return nil
}

// settle waits for the sender behind a whole answer and reports whether the
// request was sent whole too.
func (s *sender) settle(c *backendConn, r *message.Request) bool {
	if s.done == nil {
		return r.Body == nil || r.Body.Stop()
	}
	s.decide(false)
	if r.Body.Stop() {
		t := time.NewTimer(settleTime)
		defer t.Stop()
		select {
		case <-s.done:
		case <-t.C:
		}
	}
	select {
	case <-s.done:
	default:
		c.guard.Strike()
		<-s.done
	}
	return s.err == nil
}
