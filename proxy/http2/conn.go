package http2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

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
	conn   net.Conn
	guard  *sweep.Guard
	br     *bufio.Reader
	reads  *h2.Framer // of Serve's goroutine
	abuse  abuse      // of Serve's goroutine
	maxID  uint32     // of Serve's goroutine: the last stream that was opened
	began  bool       // of Serve's goroutine: the client has sent its settings
	inHead bool       // the same: a header block is under way

	writers atomic.Int32 // that wait for wmu
	wmu     sync.Mutex   // guards what writes
	bw      *bufio.Writer
	writes  *h2.Framer
	enc     *hpack.Encoder
	encBuf  bytes.Buffer

	mu       sync.Mutex // guards what follows
	streams  map[uint32]*stream
	running  int       // handlers, also of streams that are over
	held     int64     // bytes of content for which the client has no window back
	sendWin  int64     // what the client takes on the connection
	initWin  int64     // what it takes on a new stream
	pending  []*stream // opened, not yet handled
	waiting  []*stream // the same, but no window for an answer
	ours     [64]uint32
	oursNext int // ours holds the streams that we reset last

	sentData atomic.Int64 // data frames sent since Serve last looked
	handlers sync.WaitGroup
}

func newConn(s *Server, nc net.Conn, read []byte, from message.Source, h message.Handler) *Conn {
	c := &Conn{
		s: s, h: h, from: from, conn: nc, guard: s.config.Sweeper.Guard(nc, nil),
		abuse:   abuse{maxControl: s.config.MaxControl, maxAborts: s.config.MaxAborts},
		streams: map[uint32]*stream{}, sendWin: 65535, initWin: 65535,
	}
	c.br = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(read), nc), 2*maxFrame)
	if len(read) == 0 {
		c.br = bufio.NewReaderSize(nc, 2*maxFrame)
	}
	c.bw = bufio.NewWriterSize(nc, 2*maxFrame)
	c.reads = h2.NewFramer(nil, c.br)
	c.reads.SetMaxReadFrameSize(maxFrame)
	c.reads.MaxHeaderListSize = s.config.MaxHead
	c.reads.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.writes = h2.NewFramer(c.bw, nil)
	c.enc = hpack.NewEncoder(&c.encBuf)
	return c
}

// Serve answers requests until the connection ends, and closes it. The
// caller owns the goroutine.
func (c *Conn) Serve() {
	c.s.track(c, true)
	defer c.s.track(c, false)
	err := c.serve()
	c.end(err)
	c.handlers.Wait()
	c.guard.Release()
	c.conn.Close()
}

// Cut ends the connection now, from any goroutine; Serve returns soon.
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
		c.guard.StrikeRead() // Serve says goodbye
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
	c.pending = nil
	open := len(c.streams)
	c.mu.Unlock()
	c.start()
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

// maxBlind is how many requests are handled whose answers the client has no
// window for: each of them is a backend's answer that we hold.
const maxBlind = 16

// start begins to handle the streams that wait for it.
func (c *Conn) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(st *stream) bool {
		if !st.dropped && (c.running < maxBlind || c.sendWin > 0 && st.sendWin > 0) {
			c.running++
			c.handlers.Add(1)
			c.s.crew.handle(st)
			return true
		}
		return st.dropped
	})
}

var errDrained = errors.New("draining")

// await waits for the next frame's header and sets the deadline for the rest.
func (c *Conn) await() error {
	head, err := c.br.Peek(frameHeader)
	if err != nil {
		return err
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
	var stream h2.StreamError
	var conn h2.ConnectionError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stream):
		return c.resetByClient(stream.StreamID, stream.Code)
	case errors.As(err, &conn):
		return fault(h2.ErrCode(conn), "frame: %v", err)
	case errors.Is(err, h2.ErrFrameTooLarge):
		return fault(h2.ErrCodeFrameSize, "frame: %v", err)
	}
	return err
}

// write runs f, which writes frames, and flushes; where others wait for their
// turn the last of them flushes for all.
func (c *Conn) write(f func() error) error {
	c.writers.Add(1)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	others := c.writers.Add(-1) > 0
	c.guard.Write(c.s.config.WriteTimeout)
	err := f()
	if err == nil && !others {
		err = c.bw.Flush()
	}
	c.guard.Write(0)
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
	// Whoever writes now gets done, or waits for a client that does not read:
	// then this strikes. A strike at once would cut TLS within a record.
	c.guard.Write(lingerTime / 2)
	c.wmu.Lock()
	c.guard.Write(lingerTime)
	werr := c.writes.WriteGoAway(c.maxID, code, nil)
	if werr == nil {
		werr = c.bw.Flush()
	}
	c.wmu.Unlock()
	if werr == nil {
		c.linger()
	}
	c.guard.Strike()
}

// linger lets the client hear the goodbye before a reset for what it still
// sends could overtake it.
func (c *Conn) linger() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.guard.Revive()
	c.guard.Read(lingerTime)
	io.CopyN(io.Discard, c.conn, lingerBytes)
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
	c.pending, c.waiting = nil, nil
}

var errGone = errors.New("the client's connection ended")
