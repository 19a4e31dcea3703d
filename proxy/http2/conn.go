package http2

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
	"genkan/proxy/sweep"
)

// maxFrame is the largest frame that we take, the least that RFC 9113 §4.2
// lets us ask for, and the largest that we send.
const maxFrame = 16 << 10

// A Conn is one client's connection; Server.NewConn makes it.
type Conn struct {
	s      *Server
	h      message.Handler
	from   message.Source
	loop   *fiber.Loop
	raw    *fiber.Conn
	sealed *sealed // where the client speaks TLS, else nil
	guard  *sweep.Guard
	done   func() // of Start

	// Of the fiber that reads:
	br     *bufio.Reader
	reads  *h2.Framer
	abuse  abuse
	maxID  uint32 // the last stream that was opened
	began  bool   // the client has sent its settings
	inHead bool   // a header block is under way
	blind  blindness
	bell   bell // what it waits at, but for bytes

	out      outbox
	writes   *h2.Framer        // to out, with out.mu held
	enc      *hpack.Encoder    // the same
	encBuf   bytes.Buffer      // the same
	names    map[string]string // the same: of fields, in lower case
	patience time.Duration     // guarded by out.mu: for each piece that is sent

	mu       sync.Mutex // guards what follows
	streams  map[uint32]*stream
	running  int       // streams that are handled, also those that are over
	working  int       // handlers: they end after their stream
	staying  int       // streams that are answered, and open
	held     int64     // bytes of content for which the client has no window back
	sendWin  int64     // what the client takes on the connection
	initWin  int64     // what it takes on a new stream
	pending  []*stream // opened, not yet handled
	waiting  []*stream // the same, but no window for an answer
	aging    bool      // the guard's Life is set
	ours     [64]uint32
	oursNext int // ours holds the streams that we reset last

	sentData atomic.Int64 // data frames sent since the reader last looked

	sendSoon, startSoon func() // for the loop, made once
}

func newConn(s *Server, raw *fiber.Conn, from message.Source, h message.Handler) *Conn {
	c := &Conn{
		s: s, h: h, from: from, raw: raw, loop: raw.Loop(), guard: s.config.Sweeper.Guard(raw, nil),
		abuse:    abuse{maxControl: s.config.MaxControl, aborts: message.Aborts{Max: s.config.MaxAborts}},
		patience: s.config.WriteTimeout,
		streams:  map[uint32]*stream{}, sendWin: 65535, initWin: 65535,
	}
	c.guard.Over(c.age)
	c.bell.gate.Loop = c.loop
	c.sendSoon = func() { c.loop.Go(c.send) }
	c.startSoon = c.start
	c.writes = h2.NewFramer(&c.out, nil)
	c.enc = hpack.NewEncoder(&c.encBuf)
	return c
}

// readFrom has the client's frames read from conn, behind what was read.
func (c *Conn) readFrom(conn io.Reader, read []byte) {
	if len(read) > 0 {
		conn = io.MultiReader(bytes.NewReader(read), conn)
	}
	c.br = bufio.NewReaderSize(conn, 2*maxFrame)
	c.reads = h2.NewFramer(nil, &pieces{r: c.br, max: int(c.s.config.MaxHead)/maxFrame + morePieces})
	c.reads.SetMaxReadFrameSize(maxFrame)
	c.reads.MaxHeaderListSize = c.s.config.MaxHead
	c.reads.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
}

// Start serves the connection on its loop and returns at once; done is called
// there when the connection has ended.
func (c *Conn) Start(done func()) {
	c.done = done
	c.s.track(c, true)
	if !c.loop.Post(func() { c.loop.Go(c.run) }) {
		c.close()
	}
}

// run is the life of the connection, in the fiber that reads.
func (c *Conn) run() {
	c.end(c.serve())
	c.rest()
	c.close()
}

// rest waits for whoever still works: all has failed for them.
func (c *Conn) rest() {
	c.out.close()
	for c.busy() {
		c.bell.gate.Wait()
	}
}

func (c *Conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.working > 0 || c.flushing()
}

func (c *Conn) close() {
	c.guard.Release()
	c.raw.Close()
	c.s.track(c, false)
	c.done()
}

// Cut ends the connection now, from any goroutine.
func (c *Conn) Cut() {
	c.guard.Strike()
	c.abortAll()
}

// drain tells the client to open no more streams here (RFC 9113 §6.8).
func (c *Conn) drain() {
	c.mu.Lock()
	idle := len(c.streams) == 0
	c.mu.Unlock()
	if idle {
		c.guard.StrikeRead() // then we say goodbye
		return
	}
	c.sayGoAway()
}

// sayGoAway asks the client for no more streams. What it has sent already is
// served.
func (c *Conn) sayGoAway() {
	c.write(func() error { return c.writes.WriteGoAway(maxWindow, h2.ErrCodeNo, nil) })
}

// A connError is a fault of the client's that ends the connection.
type connError struct {
	code h2.ErrCode
	msg  string
}

func (e *connError) Error() string { return e.msg }

func fault(code h2.ErrCode, format string, args ...any) error {
	return &connError{code, fmt.Sprintf(format, args...)}
}

// serve reads frames until the connection is over.
func (c *Conn) serve() error {
	if err := c.hello(); err != nil {
		return err
	}
	for {
		c.breathe()
		if c.br.Buffered() < frameHeader {
			if err := c.idle(); err != nil {
				return err
			}
		}
		if err := c.await(); err != nil {
			return err
		}
		f, err := c.reads.ReadFrame()
		if err == nil {
			err = c.frame(f)
		} else if c.inHead && errors.Is(err, os.ErrDeadlineExceeded) {
			c.s.config.Bite.Tell(message.LimitHeadTime)
		}
		if err = c.react(err); err != nil {
			return err
		}
	}
}

const frameHeader = 9

// hello reads the preface and sends our settings (RFC 9113 §3.4).
func (c *Conn) hello() error {
	cfg := &c.s.config
	c.guard.Read(cfg.FirstByte)
	var got [len(h2.ClientPreface)]byte
	for i := range got {
		b, err := c.br.ReadByte()
		if err != nil {
			return err
		}
		if got[i] = b; b != h2.ClientPreface[i] {
			return fault(h2.ErrCodeProtocol, "bytes %q do not begin HTTP/2", got[:i+1])
		}
	}
	return c.write(func() error {
		settings := []h2.Setting{
			{ID: h2.SettingMaxConcurrentStreams, Val: cfg.MaxStreams},
			{ID: h2.SettingInitialWindowSize, Val: cfg.StreamWindow},
			{ID: h2.SettingMaxHeaderListSize, Val: cfg.MaxHead},
		}
		if cfg.Relay != nil {
			settings = append(settings, h2.Setting{ID: enableConnect, Val: 1})
		}
		err := c.writes.WriteSettings(settings...)
		if err == nil && cfg.ConnWindow > 65535 {
			err = c.writes.WriteWindowUpdate(0, cfg.ConnWindow-65535)
		}
		if err == nil && c.s.retiring.Load() {
			err = c.writes.WriteGoAway(maxWindow, h2.ErrCodeNo, nil)
		}
		return err
	})
}

// idle is called when all that has arrived was read: now the new streams are
// handled.
func (c *Conn) idle() error {
	c.abuse.excuse(int(c.sentData.Swap(0)))
	c.mu.Lock()
	c.waiting = append(c.waiting, c.pending...)
	clear(c.pending)
	c.pending = c.pending[:0]
	open := len(c.streams)
	if len(c.waiting) > 0 {
		c.loop.Post(c.startSoon)
	}
	c.mu.Unlock()
	c.watchBlind()
	switch {
	case open > 0:
		c.guard.Read(0)
	case c.s.draining.Load() || c.maxID > 0 && c.s.config.Pressure.Level() >= pressure.KeepLess:
		return errDrained
	default:
		c.guard.Read(c.s.config.IdleTimeout)
	}
	return nil
}

// start begins to handle the streams that wait for it, each in a fiber, or in
// a goroutine where it has to be. It is called on the loop, outside of fibers.
func (c *Conn) start() {
	for {
		st := c.next()
		switch {
		case st == nil:
			return
		case st.bell.ch != nil:
			c.s.crew.handle(st)
		default:
			c.loop.Go(st.handle)
		}
	}
}

// next takes the next stream that may be handled.
func (c *Conn) next() *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next *stream
	c.waiting = slices.DeleteFunc(c.waiting, func(st *stream) bool {
		if next == nil && !st.dropped && (c.running < maxBlind || min(c.sendWin, st.sendWin) >= minWindow) {
			next = st
			return true
		}
		return st.dropped
	})
	if next != nil {
		c.running++
		c.working++
		if !c.aging {
			c.aging = true
			c.guard.Life(c.s.config.Lifetime)
		}
	}
	return next
}

// left notes that a handler is done.
func (c *Conn) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.working--; c.working == 0 {
		c.bell.ring()
	}
}

// age ends the exchanges that lasted too long. The sweeper calls it.
func (c *Conn) age() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, left := time.Now(), time.Duration(-1)
	for _, st := range c.streams {
		age := now.Sub(st.began)
		switch {
		case st.forever:
		case age >= c.s.config.Lifetime:
			c.s.config.Bite.Tell(message.LimitLifetime)
			st.fail(errLifetime)
		case left < 0 || c.s.config.Lifetime-age < left:
			left = c.s.config.Lifetime - age
		}
	}
	if c.aging = left >= 0; c.aging {
		c.guard.Life(left)
	}
}

var errLifetime = errors.New("the exchange lasted too long")

var errDrained = errors.New("draining")

// await waits for the next frame's header and sets the deadline for the rest.
func (c *Conn) await() error {
	head, err := c.br.Peek(frameHeader)
	if err != nil {
		return cmp.Or(c.blind.fault(), err)
	}
	length := uint32(head[0])<<16 | uint32(head[1])<<8 | uint32(head[2])
	kind := h2.FrameType(head[3])
	if !c.began && kind != h2.FrameSettings {
		// RFC 9113 §3.4: the client's first frame is its settings.
		return fault(h2.ErrCodeProtocol, "first frame is %v, want SETTINGS", kind)
	}
	if length > maxFrame {
		return fault(h2.ErrCodeFrameSize, "%v frame of %d bytes", kind, length)
	}
	if c.inHead = kind == h2.FrameHeaders || kind == h2.FrameContinuation; c.inHead {
		c.guard.Read(c.s.config.HeadTimeout)
	} else {
		c.guard.Read(c.s.config.BodyIdle)
	}
	return nil
}

// react does what an error of a frame asks for; it returns those that end
// the connection.
func (c *Conn) react(err error) error {
	if err == nil {
		return nil
	}
	var stream h2.StreamError
	var conn h2.ConnectionError
	switch {
	case errors.As(err, &stream):
		return c.resetByClient(stream.StreamID, stream.Code)
	case errors.As(err, &conn):
		return fault(h2.ErrCode(conn), "frame: %v", err)
	case errors.Is(err, h2.ErrFrameTooLarge):
		return fault(h2.ErrCodeFrameSize, "frame: %v", err)
	}
	return err
}

// end says goodbye, and ends all streams.
func (c *Conn) end(err error) {
	var e *connError
	code := h2.ErrCodeNo
	if errors.As(err, &e) {
		code = e.code
		if c.s.config.Refused != nil {
			c.s.config.Refused(c.from, 400, err)
		}
	}
	c.abortAll()
	// Whoever has written is heard, unless the client does not read: then this
	// strikes. A strike at once would cut TLS within a record.
	c.out.mu.Lock()
	c.patience = lingerTime
	c.guard.Write(lingerTime)
	werr := c.append(func() error { return c.writes.WriteGoAway(c.maxID, code, nil) })
	c.out.mu.Unlock()
	for c.flushing() {
		c.bell.gate.Wait()
	}
	if werr == nil {
		c.linger()
	}
	c.guard.Strike()
}

// flushing reports whether something is being sent.
func (c *Conn) flushing() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.sending
}

// linger lets the client hear the goodbye before a reset for what it still
// sends could overtake it.
func (c *Conn) linger() {
	c.guard.Write(lingerTime)
	if c.sayEnd() != nil {
		return
	}
	c.guard.Revive()
	c.guard.Read(lingerTime)
	io.CopyN(io.Discard, c.br, lingerBytes)
}

// sayEnd ends our side.
func (c *Conn) sayEnd() error {
	if c.sealed == nil {
		return c.raw.CloseWrite()
	}
	if err := c.sealed.session.CloseWrite(); err != nil {
		return err
	}
	return c.sealed.flush()
}

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// abortAll ends all streams.
func (c *Conn) abortAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.streams {
		st.fail(errGone)
	}
	clear(c.pending)
	clear(c.waiting)
	c.pending, c.waiting = c.pending[:0], c.waiting[:0]
}

var errGone = errors.New("the client's connection ended")
