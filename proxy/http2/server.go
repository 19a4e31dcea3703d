package http2

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
	MaxHead    uint32 // bytes of a request's fields as RFC 9113 §6.5.2 counts them; 64 KiB
	MaxFields  int    // field lines; 200
	MaxLine    int    // bytes of one field, or of the path; 8 KiB
	MaxStreams uint32 // open at once on one connection; 100

	StreamWindow uint32 // bytes of a request's body that we hold; 64 KiB
	ConnWindow   uint32 // the same for all streams together; 1 MiB

	FirstByte   time.Duration // from accept to the preface; 10 s
	HeadTimeout time.Duration // for a header block once it began; 5 s
	IdleTimeout time.Duration // without a stream; 60 s
	// BodyIdle bounds the wait for the next bytes of a body, 30 s; BodyRate
	// is what a body must bring on average after BodyGrace; 64 B/s, 10 s.
	BodyIdle  time.Duration
	BodyGrace time.Duration
	BodyRate  int64
	// WriteTimeout bounds each write, and the wait for a window; 30 s.
	WriteTimeout time.Duration

	// Sweeper strikes late connections. Required; the caller runs it.
	Sweeper *sweep.Sweeper
	// Lifetime bounds one request with its answer; 24 h. A websocket's life is
	// Relay's to bound.
	Lifetime time.Duration
	// MaxControl bounds the frames a second that bring neither a request nor
	// content, nor answer content of ours; 1000. MaxAborts bounds the requests
	// that a client gives up within 30 s, where they are more than half of
	// all; 200.
	MaxControl, MaxAborts int

	// Pressure says when memory is short: then connections end once they have
	// no request. Nil: it never is.
	Pressure *pressure.Gauge
	// Bite is told when a limit bites. Nil: nobody is.
	Bite message.Bite
	// Relay moves bytes both ways after a websocket handshake and returns
	// when both are done with; early is what each side has sent already. Nil:
	// websocket is not served.
	Relay func(client net.Conn, earlyClient []byte, backend net.Conn, earlyBackend []byte)
	// Refused is told of connections that ended for a fault of the client's.
	// Nil: nobody is.
	Refused func(from message.Source, status int, err error)
}

func (c Config) withDefaults() Config {
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
	for _, f := range []struct {
		v *uint32
		d uint32
	}{
		{&c.MaxHead, 64 << 10}, {&c.MaxStreams, 100},
		{&c.StreamWindow, 64 << 10}, {&c.ConnWindow, 1 << 20},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	for _, f := range []struct {
		v *int
		d int
	}{{&c.MaxFields, 200}, {&c.MaxLine, 8 << 10}, {&c.MaxControl, 1000}, {&c.MaxAborts, 200}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	if c.BodyRate == 0 {
		c.BodyRate = 64
	}
	return c
}

// A Server has the connections of the HTTP/2 front. Use NewServer.
type Server struct {
	config   Config
	retiring atomic.Bool // by Retire
	draining atomic.Bool

	crew crew

	mu    sync.Mutex // guards conns
	conns map[*Conn]struct{}
}

// NewServer returns a Server without connections.
func NewServer(c Config) *Server {
	return &Server{config: c.withDefaults(), conns: map[*Conn]struct{}{}, crew: crew{next: make(chan *stream, maxSpare)}}
}

// NewConn takes a client's connection, whose requests h will answer. read is
// what was read from it before, nil for nothing. Start must be called.
func (s *Server) NewConn(conn *fiber.Conn, read []byte, from message.Source, h message.Handler) *Conn {
	c := newConn(s, conn, from, h)
	c.readFrom(conn, read)
	return c
}

// NewSecureConn is NewConn for a TLS session after its handshake, which goes
// on over the loop's connection: swap is what the session has under it.
func (s *Server) NewSecureConn(session *tls.Conn, swap *fiber.Swap, conn *fiber.Conn, read []byte, from message.Source, h message.Handler) *Conn {
	c := newConn(s, conn, from, h)
	c.sealed = &sealed{Conn: conn, session: session}
	swap.Conn = c.sealed
	c.readFrom(session, read)
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

func (s *Server) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cs []*Conn
	for c := range s.conns {
		cs = append(cs, c)
	}
	return cs
}

// Retire tells every client to send its next requests by another connection,
// and serves those that come nevertheless (RFC 9113 §6.8).
func (s *Server) Retire() {
	s.retiring.Store(true)
	for _, c := range s.all() {
		c.sayGoAway()
	}
}

// Drain asks every connection to end after its present streams.
func (s *Server) Drain() {
	s.draining.Store(true)
	for _, c := range s.all() {
		c.drain()
	}
}

// Cut ends every connection now.
func (s *Server) Cut() {
	s.draining.Store(true)
	for _, c := range s.all() {
		c.Cut()
	}
	s.crew.dismiss()
}
