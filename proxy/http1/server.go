package http1

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
	"genkan/proxy/sweep"
)

// Config bounds what a client may do. Zero fields mean the default in their
// comment.
type Config struct {
	MaxLine   int // bytes of the request line, and of each field line; 8 KiB
	MaxHead   int // bytes of request line and fields; 64 KiB
	MaxFields int // field lines; 200

	FirstByte   time.Duration // from accept to the first byte; 10 s
	HeadTimeout time.Duration // from a request's first byte to its empty line; 5 s
	IdleTimeout time.Duration // between two requests; 60 s
	// BodyIdle bounds the wait for the next bytes of a body, 30 s; BodyRate
	// is what a body must bring on average after BodyGrace; 64 B/s, 10 s.
	BodyIdle  time.Duration
	BodyGrace time.Duration
	BodyRate  int64
	// WriteTimeout bounds each write of at most 32 KiB; 30 s.
	WriteTimeout time.Duration

	// Lifetime bounds one request with its answer, 24 h; a websocket's life is
	// Relay's to bound.
	Lifetime time.Duration

	// Pressure says when memory is short: then connections end after their
	// answer. Nil: it never is.
	Pressure *pressure.Gauge
	// Bite is told when a limit bites. Nil: nobody is.
	Bite message.Bite
	// Sweeper strikes late connections. Required; the caller runs it.
	Sweeper *sweep.Sweeper
	// Relay moves bytes both ways after a websocket handshake and returns
	// when both connections are done with; it need not close them. early
	// is what each side has sent already. Nil: websocket is not served.
	Relay func(client net.Conn, earlyClient []byte, backend net.Conn, earlyBackend []byte)
	// Preface is given a connection on a loop that begins as HTTP/2 with prior
	// knowledge does (RFC 9113 §3.4). Nil: refused.
	Preface func(Handover)
	// Refused is told of bytes that were no request. Nil: nobody is.
	Refused func(from message.Source, status int, err error)
}

func (c Config) withDefaults() Config {
	if c.MaxLine == 0 {
		c.MaxLine = 8 << 10
	}
	if c.MaxHead == 0 {
		c.MaxHead = 64 << 10
	}
	if c.MaxFields == 0 {
		c.MaxFields = 200
	}
	if c.BodyRate == 0 {
		c.BodyRate = 64
	}
	for _, f := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.FirstByte, 10 * time.Second}, {&c.HeadTimeout, 5 * time.Second},
		{&c.IdleTimeout, time.Minute}, {&c.BodyIdle, 30 * time.Second},
		{&c.BodyGrace, 10 * time.Second}, {&c.WriteTimeout, 30 * time.Second},
		{&c.Lifetime, 24 * time.Hour},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	return c
}

// A Server reads HTTP/1 requests from connections. Use NewServer.
type Server struct {
	config Config

	retiring atomic.Bool // by Retire
	draining atomic.Bool
	dated    datePointer
	mu       sync.Mutex // guards conns
	conns    map[*Conn]struct{}
}

// NewServer returns a Server without connections.
func NewServer(c Config) *Server {
	return &Server{config: c.withDefaults(), conns: map[*Conn]struct{}{}}
}

// NewConn takes a client's connection, whose requests h will answer. read is
// what was read from it before, nil for nothing. Serve must be called, or
// Start where nc is a *fiber.Conn.
func (s *Server) NewConn(nc net.Conn, read []byte, from message.Source, h message.Handler) *Conn {
	c := &Conn{s: s, h: h}
	c.init(nc, s.config.Sweeper.Guard(nc, c.lookForEnd))
	c.guard.Over(c.expire)
	c.req.Source = from
	c.body.conn = c
	if len(read) > 0 {
		c.buf = append(borrow()[:0], read...)
		c.w = len(c.buf)
		c.buf = c.buf[:cap(c.buf)]
	}
	return c
}

// NewSecureConn takes a TLS connection after its handshake, for Start: the
// session goes on over a connection of an event loop, which is in swap.
func (s *Server) NewSecureConn(session *tls.Conn, swap *fiber.Swap, from message.Source, h message.Handler) *Conn {
	c := s.NewConn(swap.Conn, nil, from, h)
	c.conn, c.swap, c.sealed = session, swap, true
	return c
}

func (s *Server) track(c *Conn, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in {
		s.conns[c] = struct{}{}
	} else {
		delete(s.conns, c)
	}
}

// Retire has every connection end with its next answer, and leaves those that
// wait for a request alone: another process serves the clients from then on,
// and none shall see a connection end under its request.
func (s *Server) Retire() { s.retiring.Store(true) }

// Drain asks every connection to end after its present request, or the next
// one if that comes within a second. Connections that come later get one
// request answered.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.endIdle()
	}
}

// Shed ends the connections that wait for a request, soon.
func (s *Server) Shed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.endIdle()
	}
}

// Cut ends every connection now.
func (s *Server) Cut() {
	s.Drain()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Cut()
	}
}

// Conns is the number of connections, and how many of them wait for a request.
func (s *Server) Conns() (all, idle int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.idle.Load() {
			idle++
		}
	}
	return len(s.conns), idle
}
