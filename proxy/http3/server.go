// Package http3 is the HTTP/3 front (RFC 9114): quic-go speaks the protocol,
// and every request is answered by the same message.Handler as in packages
// http1 and http2.
//
//	server := http3.NewServer(http3.Config{Accept: accept})
//	err := server.Serve(http3.NewSocket(udpConn, nil, nil), tlsConfig) // until Close
//
// Packets begin at 1200 bytes, as the path may be a tunnel of 1280 (quic-go's
// default needs 1328 over IPv6), and there is no 0-RTT: a request in it could
// come from a forged address (CVE-2024-39321, CVE-2026-40460). The client of
// a request is the address that its connection has at that moment, as QUIC
// connections move.
package http3

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/acl"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// Config bounds what a client may do. Zero fields mean the default in their
// comment.
type Config struct {
	// Accept says who a client is and who answers it, for the two ends of a
	// connection; ok is false to refuse it. It is asked for each request.
	// Required.
	Accept func(client, local netip.AddrPort, cs *tls.ConnectionState) (from message.Source, h message.Handler, ok bool)

	// Relay moves bytes both ways after a websocket handshake and returns
	// when both are done with. Nil: websocket is not served.
	Relay func(client net.Conn, earlyClient []byte, backend net.Conn, earlyBackend []byte)

	MaxHead    int           // bytes of a request's fields; 64 KiB
	MaxFields  int           // field lines; 200
	MaxLine    int           // bytes of one field, or of the path; 8 KiB
	MaxStreams int64         // requests at once on one connection; 100
	Idle       time.Duration // a connection without packets, or without a request; 60 s
	// FirstRequest bounds the time from the handshake to the first request; 10 s.
	FirstRequest time.Duration
	Handshake    time.Duration // 10 s
	// BodyIdle bounds the wait for the next bytes of a body, 30 s; BodyRate
	// is what a body must bring on average after BodyGrace; 64 B/s, 10 s.
	BodyIdle  time.Duration
	BodyGrace time.Duration
	BodyRate  int64
	// WriteTimeout bounds each write of at most 16 KiB; 30 s.
	WriteTimeout time.Duration
	// Lifetime bounds one request with its answer; 24 h. A websocket's life is
	// Relay's to bound.
	Lifetime time.Duration
	// Enter lets a connection in: leave is called when it has ended. Nil: all
	// may come in.
	Enter func(client netip.AddrPort, cut func()) (leave func(), ok bool)
	// Bite is told when a limit bites. Nil: nobody is.
	Bite message.Bite
	// MaxAborts bounds the requests that a client gives up within 30 s, where
	// they are more than half of all; 200.
	MaxAborts int
	// Pressure says when memory is short: then connections end after 5 s
	// without a request. Nil: it never is.
	Pressure *pressure.Gauge
	// MaxUnproven is how many handshakes a second are answered before the
	// others have to prove their address by a Retry first; 100.
	MaxUnproven int
}

func (c Config) withDefaults() Config {
	for _, f := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.Idle, time.Minute}, {&c.FirstRequest, 10 * time.Second}, {&c.Handshake, 10 * time.Second}, {&c.BodyIdle, 30 * time.Second},
		{&c.BodyGrace, 10 * time.Second}, {&c.WriteTimeout, 30 * time.Second},
		{&c.Lifetime, 24 * time.Hour},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	for _, f := range []struct {
		v *int
		d int
	}{{&c.MaxHead, 64 << 10}, {&c.MaxFields, 200}, {&c.MaxLine, 8 << 10}, {&c.MaxUnproven, 100}, {&c.MaxAborts, 200}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 100
	}
	if c.BodyRate == 0 {
		c.BodyRate = 64
	}
	return c
}

// initialPacket is QUIC's least: it fits a tunnel of 1280 with IPv6 and UDP
// around it (RFC 9000 §14.1).
const initialPacket = 1200

// A Server is the HTTP/3 front of any number of sockets. Use NewServer.
type Server struct {
	config Config
	http   *quichttp.Server
	late   *quichttp.Server // of connections that came while the other drains

	second   atomic.Int64 // the present one, for unproven
	unproven atomic.Int64
	serving  sync.WaitGroup // connections
}

// NewServer returns a Server that does not serve yet.
func NewServer(c Config) *Server {
	s := &Server{config: c.withDefaults()}
	s.http, s.late = s.newHTTP(), s.newHTTP()
	return s
}

func (s *Server) newHTTP() *quichttp.Server {
	return &quichttp.Server{
		Handler:        http.HandlerFunc(s.serve),
		MaxHeaderBytes: s.config.MaxHead,
		IdleTimeout:    s.config.Idle,
		ConnContext: func(ctx context.Context, c *quic.Conn) context.Context {
			return context.WithValue(ctx, sessionKey{}, newSession(c, &s.config))
		},
	}
}

type sessionKey struct{} // of the context: the *session of a request

// Serve answers the clients of one socket until it is closed. It returns
// when no connection is left; the error is nil after a close.
func (s *Server) Serve(socket *Socket, config *tls.Config) error {
	tr := &quic.Transport{Conn: socket, ConnectionIDGenerator: socket, VerifySourceAddress: s.mustProve}
	defer tr.Close()
	ln, err := tr.Listen(quichttp.ConfigureTLSConfig(config), &quic.Config{
		InitialPacketSize:     initialPacket,
		MaxIncomingStreams:    s.config.MaxStreams,
		MaxIdleTimeout:        s.config.Idle,
		HandshakeIdleTimeout:  s.config.Handshake,
		Allow0RTT:             false,
		MaxIncomingUniStreams: 16, // control and compression streams
	})
	if err != nil {
		return err
	}
	defer ln.Close()
	for {
		c, err := ln.Accept(context.Background())
		if err != nil {
			s.serving.Wait()
			if errors.Is(err, quic.ErrServerClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, quic.ErrTransportClosed) {
				return nil
			}
			return err
		}
		s.serving.Go(func() { s.serveConn(c) })
	}
}

// Error codes of a connection that may not enter, and of one for which there
// is no room now.
const (
	refused = quic.ApplicationErrorCode(quichttp.ErrCodeRequestRejected)
	busy    = quic.ApplicationErrorCode(quichttp.ErrCodeExcessiveLoad)
)

// serveConn answers the requests of one connection.
func (s *Server) serveConn(c *quic.Conn) {
	state := c.ConnectionState().TLS
	if _, _, ok := s.accept(c, &state); !ok {
		c.CloseWithError(refused, "")
		return
	}
	if s.config.Enter != nil {
		leave, ok := s.config.Enter(addrPort(c.RemoteAddr()), func() { c.CloseWithError(refused, "") })
		if !ok {
			c.CloseWithError(busy, "")
			return
		}
		defer leave()
	}
	for _, part := range []*quichttp.Server{s.http, s.late} {
		err := part.ServeQUICConn(c)
		if !errors.Is(err, http.ErrServerClosed) || c.Context().Err() != nil {
			break
		}
	}
	c.CloseWithError(refused, "") // where both drain; nothing otherwise: it has ended
}

// accept asks who the client is now. A mapped source on an IPv6 socket was
// spelled so on the wire: it is forged.
func (s *Server) accept(c *quic.Conn, state *tls.ConnectionState) (message.Source, message.Handler, bool) {
	client, local := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if acl.IsMapped(client.Addr()) {
		return message.Source{}, nil, false
	}
	return s.config.Accept(client, local, state)
}

func addrPort(a net.Addr) netip.AddrPort {
	udp, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return udp.AddrPort()
}

// mustProve asks for a Retry where handshakes come in too fast (RFC 9000
// §8.1.2): a forged address cannot answer it.
func (s *Server) mustProve(net.Addr) bool {
	now := time.Now().Unix()
	if s.second.Swap(now) != now {
		s.unproven.Store(0)
	}
	if s.unproven.Add(1) <= int64(s.config.MaxUnproven) {
		return false
	}
	s.config.Bite.Tell(message.LimitHandshakes)
	return true
}

// Drain asks every client to end after its present requests, and waits for
// that until ctx ends. Connections whose handshake is under way are served all
// the same if they come within grace.
func (s *Server) Drain(ctx context.Context, grace time.Duration) {
	var both sync.WaitGroup
	both.Go(func() { s.http.Shutdown(ctx) })
	both.Go(func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		s.late.Shutdown(ctx)
	})
	both.Wait()
}

// Close ends all connections now. Sockets are their owners' to close.
func (s *Server) Close() {
	s.http.Close()
	s.late.Close()
}
