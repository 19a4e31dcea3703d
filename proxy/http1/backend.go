package http1

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"genkan/proxy/message"
)

// A backendConn is one connection to a backend, with at most one exchange
// at a time.
type backendConn struct {
	wire
	t         *Transport
	key       poolKey
	session   *session // nil: the backend speaks plain
	idleSince time.Time

	req   *message.Request
	resp  message.Response
	body  body
	keep  bool // as far as the answer's head says
	bytes bool // something of the answer came

	waitMu  sync.Mutex // guards waiting and, while it is true, guard's read side
	waiting bool       // for the head of the answer

	abort   func() // c.strike, made once
	aborted atomic.Bool
	sender  sender
	once    sync.Once
}

func (t *Transport) newConn(conn net.Conn, s *session, key poolKey) *backendConn {
	c := &backendConn{t: t, key: key, session: s}
	c.wire.init(conn, t.config.Sweeper.Guard(conn, nil))
	if s != nil {
		if c.loops != nil {
			s.swap.Conn = conn
		}
		c.conn, c.raw, c.sealed = s.Conn, nil, true
	}
	c.abort = c.strike
	return c
}

// strike ends what the connection is doing, from any goroutine.
func (c *backendConn) strike() {
	c.aborted.Store(true)
	c.guard.Strike()
}

// close closes the connection, where it is an event loop's soon.
func (c *backendConn) close() {
	if c.loops == nil || !c.loops.Loop().Post(c.closeNow) {
		c.closeNow()
	}
}

func (c *backendConn) closeNow() {
	c.once.Do(func() {
		c.guard.Release()
		c.closeConn()
		c.r, c.w = 0, 0
		c.release()
	})
}

// exchange sends the request and reads the head of the answer.
func (c *backendConn) exchange(r *message.Request, small []byte) (*message.Response, error) {
	c.bytes, c.keep, c.req = false, true, r
	c.sender.reset()
	buf := borrow()
	out := appendRequest(buf[:0], r, c.key.Addr)
	streams := r.Length != 0 && small == nil
	if !streams {
		out = append(out, small...)
	}
	werr := c.wire.send(out, c.t.config.WriteTimeout)
	giveBack(buf)
	if streams && werr == nil {
		c.sender.start(c, r)
	}
	// The backend may have answered and closed before it read all: look for
	// an answer also after a failed write.
	resp, err := c.readResponse(r)
	if err != nil {
		if client := c.sender.stop(c, r); client != nil {
			return nil, client
		}
		if werr != nil && !c.bytes && isTimeout(werr) {
			err = werr
		}
		return nil, err
	}
	return resp, nil
}

// fault finds what kind of error ended the exchange.
func (c *backendConn) fault(err error) *Error {
	e := &Error{FaultMalformed, c.key.Addr, err}
	var client *clientError
	var syntax *RequestError
	switch {
	case c.aborted.Load():
		e.Fault, e.Err = FaultAborted, errAborted
	case errors.As(err, &client):
		e.Fault, e.Err = FaultClient, client.err
	case errors.As(err, &syntax):
	case isTimeout(err):
		e.Fault, e.Err = FaultTimeout, errors.New("no answer in time")
	case !c.bytes:
		e.Fault = FaultClosed
	}
	return e
}

// Close ends the exchange: the connection is kept where the answer was read
// to its end and nothing came behind it, the request was sent whole, and
// neither side wants it closed. It is called once for each response.
func (c *backendConn) Close() error {
	c.req.OnAbort(nil)
	whole := c.body.complete.Load() && c.sender.settle(c, c.req)
	if !whole || !c.keep || c.aborted.Load() || len(c.unread()) > 0 || c.resp.Upgraded != nil {
		c.close()
		return nil
	}
	c.release()
	c.t.pool.put(c)
	return nil
}

// A clientError is a fault of the client's while its body was passed on.
type clientError struct{ err error }

func (e *clientError) Error() string { return e.err.Error() }
