package http1

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// A Conn is one client's connection; Server.NewConn makes it.
type Conn struct {
	wire
	s    *Server
	h    message.Handler
	req  message.Request
	body requestBody
	idle atomic.Bool // waits for the first byte of a request

	mu     sync.Mutex // guards guard for Cut and Drain, and what follows
	wasCut bool

	prefaced bool // the client speaks HTTP/2
	asked    bool // a request has come

	done func() // of Start
	wake func() // c.awake, made once

	informs func(status int, h message.Header) // c.inform, made once

	swap *fiber.Swap // where conn is TLS and can move; else nil

	// answering guards the order of interim and final answers: a 100 may
	// come from the goroutine that passes the body on.
	answering sync.Mutex
	answered  bool // the final answer has begun
}

// preface begins HTTP/2 with prior knowledge.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// errQuiet is the end of a connection that needs no answer.
var errQuiet = errors.New("connection ended between requests")

// Serve answers the requests, one after the other, and closes the connection
// when it returns. The caller owns the goroutine.
func (c *Conn) Serve() {
	c.s.track(c, true)
	c.serve()
	c.end()
	c.s.track(c, false)
}

// Cut ends the connection now, from any goroutine; Serve returns soon.
func (c *Conn) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wasCut = true
	c.guard.Strike()
	c.req.Abort()
}

// expire ends an exchange that lasted too long.
func (c *Conn) expire() {
	c.s.config.Bite.Tell(message.LimitLifetime)
	c.Cut()
}

// drainGrace is how long connections that wait for a request are kept when
// the server drains: a request may be on its way, and is better answered with
// "Connection: close" than with a reset.
const drainGrace = time.Second

// endIdle ends the connection soon where it waits for a request.
func (c *Conn) endIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle.Load() {
		c.guard.Read(drainGrace)
	}
}

// serve answers request after request.
func (c *Conn) serve() {
	for {
		keep, err := c.next()
		if err != nil {
			c.refuse(err)
			return
		}
		if !c.exchange(keep) {
			return
		}
	}
}

// end closes the connection.
func (c *Conn) end() {
	c.guard.Release()
	c.conn.Close()
	c.r, c.w = 0, 0
	c.wire.release()
}

// next waits for a request and reads its head into c.req.
func (c *Conn) next() (keep bool, err error) {
	c.req.Reset()
	cfg := &c.s.config
	if len(c.unread()) == 0 {
		if err := c.waitFirst(); err != nil {
			return false, errQuiet
		}
	}
	within := cfg.HeadTimeout
	if !c.asked && c.unread()[0] == 'P' && cfg.Preface != nil && c.done != nil {
		c.guard.Read(within)
		within = 0
		if c.prefaced, err = c.tryPreface(); c.prefaced || err != nil {
			c.guard.Read(0)
			return false, err
		}
	}
	c.asked = true
	if c.req.Header == nil {
		c.req.Header = borrowHeader()
	}
	head, err := c.readHead(bounds{cfg.MaxLine, cfg.MaxHead, cfg.MaxFields}, within)
	c.guard.Read(0)
	if err != nil {
		return false, err
	}
	if keep, err = parseRequest(head, &c.req); err != nil {
		return false, err
	}
	c.startBody()
	if c.req.Proto == "HTTP/1.1" {
		if c.informs == nil {
			c.informs = c.inform
		}
		c.req.Inform = c.informs
	}
	if c.loops != nil {
		c.req.Loop = c.loops.Loop()
	}
	c.answered = false
	return keep, nil
}

// waitFirst waits for the first byte of a request, without a buffer.
func (c *Conn) waitFirst() error {
	c.wire.release()
	if c.loops != nil && c.loops.Readable() {
		err := c.fill() // with park's deadline, where it waits nevertheless
		c.idle.Store(false)
		return err
	}
	c.guard.Read(c.idleTime())
	c.idle.Store(true)
	if c.s.draining.Load() {
		c.guard.Read(drainGrace)
	}
	err := c.fill()
	c.idle.Store(false)
	return err
}

// idleTime is how long the client may take to begin a request.
func (c *Conn) idleTime() time.Duration {
	if !c.asked {
		return c.s.config.FirstByte
	}
	return c.s.config.IdleTimeout
}

// tryPreface reports whether the connection begins as HTTP/2 does.
func (c *Conn) tryPreface() (is bool, err error) {
	for {
		got := c.unread()
		n := min(len(got), len(preface))
		if string(got[:n]) != preface[:n] {
			return false, nil
		}
		if n == len(preface) {
			return true, nil
		}
		if err := c.fill(); err != nil {
			return false, err
		}
	}
}

// startBody makes the body of the request that was just parsed.
func (c *Conn) startBody() {
	r, cfg := &c.req, &c.s.config
	kind := fixed
	if r.Length < 0 {
		kind = chunked
	}
	c.body.reset(&c.wire, kind, max(r.Length, 0))
	c.body.stopped.Store(false)
	if r.Length == 0 {
		return
	}
	c.body.pace = pace{cfg.BodyIdle, cfg.BodyGrace, cfg.BodyRate}
	c.body.bounds = bounds{cfg.MaxLine, cfg.MaxHead, cfg.MaxFields}
	if r.Expect {
		c.body.first = c.sendContinue
	}
	r.Body = &c.body
}

// exchange has the request answered and reports whether another may follow.
func (c *Conn) exchange(keep bool) bool {
	c.wire.release()
	c.guard.Begin(c.s.config.Lifetime, c.req.Body == nil)
	resp := c.h.Handle(&c.req)
	c.guard.Watch(false)
	if resp.Upgraded != nil {
		c.guard.Life(0)
		return c.upgrade(resp)
	}
	if resp.Close || c.s.draining.Load() || c.s.retiring.Load() || c.s.config.Pressure.Level() >= pressure.KeepLess {
		keep = false
	}
	// A client that has not sent all of its body gets no second turn: what
	// comes next on this connection would be the rest of it.
	complete := c.body.complete.Load()
	keep, sent, err := c.respond(resp, keep && complete)
	c.guard.Life(0)
	if resp.Release != nil {
		c.h.Done(&c.req, resp, message.Outcome{Sent: sent, Err: err})
		resp.Release.Close()
	} else {
		c.h.Done(&c.req, resp, message.Outcome{Sent: sent, Err: err})
	}
	if err != nil {
		c.reset()
		return false
	}
	if !complete {
		c.linger() // the client still sends
	}
	return keep
}

// lookForEnd ends the work on a request whose client has gone meanwhile. It
// is called by the sweeper, while the answer is awaited.
func (c *Conn) lookForEnd() {
	if c.loops != nil {
		c.loops.Loop().Post(c.abortGone)
	} else {
		c.abortGone()
	}
}

func (c *Conn) abortGone() {
	if !c.open() {
		c.req.Abort()
	}
}

// reset makes the close that follows visible to the client as an abort: a
// cut answer must not look whole, also where its end is the connection's.
func (c *Conn) reset() {
	under := c.conn
	if c.swap != nil {
		under = c.swap.Conn
	}
	if tcp, ok := under.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0)
	}
}

// lingerTime and lingerBytes bound how long we listen to a client whose
// bytes nobody wants any more.
const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// linger says that we are done and waits for the client to hear it. A close
// with unread bytes would send a reset, and the reset may overtake the
// answer (RFC 9112 §9.6).
func (c *Conn) linger() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.guard.Revive()
	c.guard.Read(lingerTime)
	buf := borrow()
	defer giveBack(buf)
	for total := 0; total < lingerBytes; {
		n, err := c.conn.Read(buf)
		if err != nil {
			return
		}
		total += n
	}
}

// refuse answers what is not a request.
func (c *Conn) refuse(err error) {
	var e *RequestError
	switch {
	case err == errQuiet:
		return
	case errors.As(err, &e):
	case isTimeout(err):
		e = &RequestError{Status: 408, Msg: "request not complete in time"}
	case err == io.EOF && len(c.unread()) > 0:
		e = bad("connection ended inside a request")
	default:
		return
	}
	switch e.Status {
	case 414, 431:
		c.s.config.Bite.Tell(message.LimitHead)
	case 408:
		c.s.config.Bite.Tell(message.LimitHeadTime)
	}
	if c.s.config.Refused != nil {
		c.s.config.Refused(c.req.Source, e.Status, e)
	}
	if e.Silent {
		c.linger()
		return
	}
	out := appendStatus(nil, e.Status, "")
	text := message.StatusText(e.Status) + "\n"
	out = appendField(out, "Date", c.s.date())
	out = appendField(out, "Content-Type", "text/plain")
	out = appendLength(out, int64(len(text)))
	out = append(out, "Connection: close\r\n\r\n"...)
	if c.write(append(out, text...)) == nil {
		c.linger()
	}
}

// write writes p within its deadline.
func (c *Conn) write(p []byte) error {
	err := c.send(p, c.s.config.WriteTimeout)
	if err != nil && isTimeout(err) && c.guard.WriteStruck() && !c.guard.ReadStruck() {
		c.s.config.Bite.Tell(message.LimitWriteTime) // not Cut, which strikes both sides
	}
	return err
}

// inform sends an interim answer unless the final one has begun.
func (c *Conn) inform(status int, h message.Header) {
	c.answering.Lock()
	defer c.answering.Unlock()
	if c.answered {
		return
	}
	out := appendStatus(nil, status, "")
	out = appendFields(out, h)
	c.write(append(out, '\r', '\n'))
}

func (c *Conn) sendContinue() error {
	if len(c.unread()) == 0 {
		c.inform(100, nil)
	}
	return nil
}

// upgrade answers 101 and lets the bytes pass.
func (c *Conn) upgrade(resp *message.Response) bool {
	out := appendStatus(borrow()[:0], 101, "")
	out = appendFields(out, resp.Header)
	out = append(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	err := c.write(out)
	giveBack(out)
	if err == nil {
		early := bytes.Clone(c.unread())
		c.r = c.w
		c.wire.release()
		c.s.config.Relay(c.conn, early, resp.Upgraded, resp.Early)
	}
	c.h.Done(&c.req, resp, message.Outcome{Err: err})
	resp.Release.Close()
	return false
}
