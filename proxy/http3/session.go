package http3

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// pressedIdle is how long a connection may have no request where memory is
// short.
const pressedIdle = 5 * time.Second

// A session is one connection, and what its client may do on it. quic-go's own
// bound on idleness does not see to a stream on which a request does not
// begin: that is open, and nobody waits for it.
type session struct {
	conn   *quic.Conn
	tls    tls.ConnectionState
	config *Config

	mu     sync.Mutex // guards what follows
	active int        // requests that are handled
	aborts message.Aborts
	idle   *time.Timer // ends the connection
}

// newSession begins to watch a connection, until it ends.
func newSession(conn *quic.Conn, c *Config) *session {
	s := &session{conn: conn, tls: conn.ConnectionState().TLS, config: c, aborts: message.Aborts{Max: c.MaxAborts}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = time.AfterFunc(min(c.FirstRequest, c.Idle), s.expire)
	context.AfterFunc(conn.Context(), func() { s.idle.Stop() })
	return s
}

// expire ends a connection on which no request has begun in time.
func (s *session) expire() {
	s.mu.Lock()
	idle := s.active == 0
	s.mu.Unlock()
	if idle {
		s.conn.CloseWithError(quic.ApplicationErrorCode(quichttp.ErrCodeNoError), "")
	}
}

// begin counts a request in.
func (s *session) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active++
	s.idle.Stop()
	s.aborts.Begin(time.Now())
}

// end counts a request out; gone is true where the client gave it up. Who
// gives up too many has the work done for nothing (CVE-2023-44487).
func (s *session) end(gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 && s.conn.Context().Err() == nil {
		wait := s.config.Idle
		if s.config.Pressure.Level() >= pressure.KeepLess {
			wait = min(wait, pressedIdle)
		}
		s.idle.Reset(wait)
	}
	if gone && s.conn.Context().Err() == nil && s.aborts.GivenUp() {
		s.config.Bite.Tell(message.LimitAborts)
		s.conn.CloseWithError(busy, "")
	}
}
