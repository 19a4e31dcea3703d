package ftp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// servePassive waits for the client at the port that it was told, and leads it
// to the server's.
func (s *session) servePassive(e *expectation, to netip.AddrPort) {
	defer s.Hub.forget(e)
	timer := time.NewTimer(s.DataWait)
	defer timer.Stop()
	select {
	case conn := <-e.come:
		s.lead(conn, to)
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// lead connects a client's data connection to the server.
func (s *session) lead(client *net.TCPConn, to netip.AddrPort) {
	ctx, cancel := context.WithTimeout(s.ctx, s.DataWait)
	defer cancel()
	server, err := s.Dial(ctx, to)
	if err != nil {
		s.Log.Warn("ftp: no data connection to the server", "client", s.ClientAddr, "backend", to, "cause", err)
		reset(client)
		return
	}
	s.join(client, server)
}

// join makes one data connection of its two halves.
func (s *session) join(client, server *net.TCPConn) {
	conn, err := s.secureData(client)
	if err != nil {
		s.Log.Warn("ftp: data refused", "client", s.ClientAddr, "cause", err)
		reset(client)
		reset(server)
		return
	}
	if !s.relay(conn, server) {
		s.Log.Warn("ftp: too many data connections at once", "client", s.ClientAddr, "bound", maxData)
		reset(client)
		reset(server)
	}
}

// maxData bounds the data connections of one session that live at once.
const maxData = 16

// relay hands a data connection over. The session does not wait for its end,
// only counts it: the server may close the control connection before the
// client has all of the data. False: there are too many.
func (s *session) relay(client net.Conn, server *net.TCPConn) bool {
	s.mu.Lock()
	full := s.data == maxData
	if !full {
		s.data++
	}
	s.mu.Unlock()
	if full {
		return false
	}
	s.Relay(client, server, func() {
		s.mu.Lock()
		s.data--
		s.moved = time.Now()
		s.mu.Unlock()
	})
	return true
}

// arriveBlind leads a connection to the same port of the server. Hub.mu is held.
func (s *session) arriveBlind(conn *net.TCPConn, port uint16) bool {
	if s.ctx.Err() != nil {
		return false
	}
	s.work.Go(func() { s.lead(conn, netip.AddrPortFrom(s.ServerAddr, port)) })
	return true
}

// An activeOffer is a socket that the server is told to connect to, on behalf
// of a client that is connected to then.
type activeOffer struct {
	listener *net.TCPListener
	at       netip.AddrPort
	client   netip.AddrPort
}

func (o *activeOffer) close() { o.listener.Close() }

// offer opens the socket, on our side of the control connection: servers
// connect to no other address (RFC 2577 §3).
func (s *session) offer(client netip.AddrPort) (*activeOffer, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(s.ctx, "tcp4", netip.AddrPortFrom(s.Source, 0).String())
	if err != nil {
		return nil, err
	}
	listener := l.(*net.TCPListener)
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	return &activeOffer{listener, netip.AddrPortFrom(s.Source, at.Port()), client}, nil
}

// serveActive waits for the server and connects it to the client.
func (s *session) serveActive(o *activeOffer) {
	defer o.close()
	end := context.AfterFunc(s.ctx, o.close)
	defer end()
	if err := o.listener.SetDeadline(time.Now().Add(s.DataWait)); err != nil {
		return
	}
	for {
		server, err := o.listener.AcceptTCP()
		if err != nil {
			return // time is up, or the session at its end
		}
		from := server.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if from != s.ServerAddr {
			s.Log.Warn("ftp: data of a stranger refused", "client", s.ClientAddr, "peer", from)
			reset(server)
			continue
		}
		s.connectClient(server, o.client)
		return
	}
}

// connectClient opens the other half of an active data connection, from the
// address that the client knows.
func (s *session) connectClient(server *net.TCPConn, to netip.AddrPort) {
	dialer := net.Dialer{Timeout: s.DataWait, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.Door, 0))}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(s.ctx, "tcp", to.String())
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			s.Log.Warn("ftp: no data connection to the client", "client", to, "cause", err)
		}
		reset(server)
		return
	}
	s.join(conn.(*net.TCPConn), server)
}
