package http2

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"

	"genkan/proxy/http1"
	"genkan/proxy/message"
)

// A stream is one request and its answer. It is the request's body.
type stream struct {
	c        *Conn
	id       uint32
	req      message.Request
	refuse   int                  // a status to answer in place of the handler, 0: none
	declared int64                // content-length, -1: none
	hosts    int                  // Host fields
	key      message.WebSocketKey // of a websocket, else ""
	whole    atomic.Bool          // the end of the answer is on its way, or further
	answered bool                 // guarded by c.out.mu: the final answer has begun
	began    time.Time

	sendWin int64 // guarded by c.mu
	stays   bool  // guarded by c.mu: it is answered; see stay
	dropped bool  // guarded by c.mu: not in c.streams any more
	forever bool  // guarded by c.mu: it has no Lifetime
	bell    bell  // of who answers: there is a window, or room in c.out
	arrived bell  // of who reads the body

	mu       sync.Mutex // guards what follows
	buf      []byte     // content not read yet
	got      int64      // content received
	consumed int64      // content read for which no window was given back
	ended    bool       // END_STREAM was received
	err      error      // why nothing more will come, or is wanted

	let  int           // of who answers: bytes of windows, since maxOut of them or the start
	held time.Duration // the same: how long they were waited for

	waited time.Duration // of the goroutine that reads the body
	asked  bool          // the same: 100 was sent
}

var (
	errReset   = errors.New("the client reset the stream")
	errStopped = errors.New("nobody wants the rest of the content")
)

// open makes a new stream. It is to be handled when all that arrived was read,
// if it is one that can be: begin.
func (c *Conn) open(f *h2.MetaHeadersFrame) *stream {
	c.maxID = f.StreamID
	now := time.Now()
	c.abuse.aborts.Begin(now)
	st := streams.Get().(*stream)
	st.c, st.id, st.began = c, f.StreamID, now
	st.bell.gate.Loop, st.arrived.gate.Loop = c.loop, c.loop
	return st
}

// streams lends the memory of streams. (A sync.Pool is a cache of the runtime's,
// not state of ours.)
var streams = sync.Pool{New: func() any { return new(stream) }}

// keptFields is for how many fields a stream keeps room.
const keptFields = 64

// recycle gives the memory of a stream back where nobody can know it any more:
// it was answered in a fiber, on the loop that all else of its connection runs
// on, it does not stay, and no timer is about to ring.
func (st *stream) recycle() {
	if st.bell.ch != nil || st.bell.stray || st.arrived.stray || st.stays {
		return
	}
	header := st.req.Header
	if cap(header) > keptFields {
		header = nil
	}
	clear(header[:cap(header)])
	*st = stream{}
	st.req.Header = header[:0]
	streams.Put(st)
}

// begin makes a stream one of the open ones.
func (c *Conn) begin(st *stream) {
	if st.blocks() {
		st.bell.forGoroutine()
		st.arrived.forGoroutine()
	} else {
		st.req.Loop = c.loop
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st.sendWin = c.initWin
	c.streams[st.id] = st
	c.pending = append(c.pending, st)
}

// blocks reports whether the request takes a goroutine: its content is passed
// on while the answer is awaited, or is a websocket's.
func (st *stream) blocks() bool {
	r := &st.req
	return st.refuse == 0 && (r.Length < 0 || r.Length > http1.SmallBody || r.Expect || r.Upgrade)
}

// drop takes a stream out for the client's doing.
func (c *Conn) drop(st *stream, err error) {
	c.mu.Lock()
	c.remove(st)
	c.mu.Unlock()
	st.fail(err)
	c.giveBack(0, st.leftover())
}

// remove takes st out of the streams. c.mu is held.
func (c *Conn) remove(st *stream) {
	if !st.dropped {
		st.dropped = true
		delete(c.streams, st.id)
		if st.stays {
			c.staying--
		}
	}
}

// fail ends the stream for whoever works on it.
func (st *stream) fail(err error) {
	st.mu.Lock()
	if st.err == nil {
		st.err = err
	}
	st.mu.Unlock()
	st.arrived.ring()
	st.bell.ring()
	st.req.Abort()
}

func (st *stream) hasEnded() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ended
}

// leftover takes the content that nobody will read.
func (st *stream) leftover() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	n := int64(len(st.buf)) + st.consumed
	st.buf, st.consumed = nil, 0
	return n
}

// receive takes content, and its end. False means a fault with that code.
func (st *stream) receive(p []byte, end bool) (h2.ErrCode, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.got += int64(len(p))
	switch {
	case st.ended:
		return h2.ErrCodeStreamClosed, false
	case int64(len(st.buf)+len(p))+st.consumed > int64(st.c.s.config.StreamWindow):
		return h2.ErrCodeFlowControl, false
	case st.declared >= 0 && (st.got > st.declared || end && st.got < st.declared):
		return h2.ErrCodeProtocol, false
	}
	st.ended = end
	if st.err != nil {
		st.consumed += int64(len(p)) // given back when the stream ends
		return 0, true
	}
	st.buf = append(st.buf, p...)
	st.arrived.ring()
	return 0, true
}

// Read returns content; it waits no longer than the configured pace allows.
func (st *stream) Read(p []byte) (int, error) {
	for {
		n, update, err := st.take(p)
		if update > 0 {
			st.c.giveBack(st.id, update)
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		if st.req.Expect && !st.asked {
			st.asked = true
			st.inform(100, nil)
		}
		if err := st.wait(); err != nil {
			return 0, err
		}
	}
}

// take is Read without waiting. update is the window to give back.
func (st *stream) take(p []byte) (n int, update int64, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	n = copy(p, st.buf)
	st.buf = st.buf[n:]
	st.consumed += int64(n)
	if len(st.buf) == 0 {
		st.buf = nil
	}
	switch {
	case n > 0:
	case st.err != nil:
		err = st.err
	case st.ended:
		err = io.EOF
	}
	if !st.ended && st.consumed >= int64(st.c.s.config.StreamWindow)/4 {
		update, st.consumed = st.consumed, 0
	}
	return n, update, err
}

// wait waits for content. The time counts that we waited for the client, not
// the time that nobody asked it for more.
func (st *stream) wait() error {
	cfg := &st.c.s.config
	st.mu.Lock()
	got := st.got
	st.mu.Unlock()
	credit := cfg.BodyGrace + time.Duration(float64(got)/float64(cfg.BodyRate)*float64(time.Second)) - st.waited
	patience := min(credit, cfg.BodyIdle)
	if st.req.Idle > 0 {
		patience = st.req.Idle
	}
	began := time.Now()
	if !st.arrived.wait(patience) && !st.stirs() {
		st.c.s.config.Bite.Tell(message.LimitBodyRate)
		return &http1.RequestError{Status: 408, Msg: "content not complete in time"}
	}
	st.waited += time.Since(began)
	return nil
}

// stirs reports whether Read has something to say.
func (st *stream) stirs() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.buf) > 0 || st.ended || st.err != nil
}

// Trailer returns none: see trailer.
func (st *stream) Trailer() message.Header { return nil }

// Ready is how many bytes Read returns without waiting.
func (st *stream) Ready() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.buf)
}

// Stop reports whether the content was read to its end; else reading ends.
func (st *stream) Stop() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended && len(st.buf) == 0 {
		return true
	}
	if st.err == nil {
		st.err = errStopped
	}
	st.arrived.ring()
	return false
}

// reserve waits until up to n bytes may be sent. A client has WriteTimeout for
// windows of maxOut in all, not for each: who opens them byte by byte does not
// hold the answer for long.
func (st *stream) reserve(n int) (int, error) {
	for {
		if err := st.failed(); err != nil {
			return 0, err
		}
		if w := st.reserveNow(min(n, maxFrame)); w > 0 {
			if st.let += w; st.let >= maxOut {
				st.let, st.held = 0, 0
			}
			return w, nil
		}
		left := st.c.s.config.WriteTimeout - st.held
		if left <= 0 {
			st.c.s.config.Bite.Tell(message.LimitWriteTime)
			return 0, os.ErrDeadlineExceeded
		}
		began := time.Now()
		st.bell.wait(left)
		st.held += time.Since(began)
	}
}

// reserveNow is reserve without waiting: 0 where there is no window.
func (st *stream) reserveNow(n int) int {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	w := max(min(int64(n), c.sendWin, st.sendWin), 0)
	c.sendWin -= w
	st.sendWin -= w
	return int(w)
}

// failed is why the client cannot be answered any more.
func (st *stream) failed() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == errStopped {
		return nil
	}
	return st.err
}
