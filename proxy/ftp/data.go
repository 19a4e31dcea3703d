package ftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
)

// maxData bounds the data connections of one session that live at once, or are
// to come.
const maxData = 16

// reserve takes one of them. False: there are too many.
func (s *session) reserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots == maxData {
		return false
	}
	s.slots++
	return true
}

// free gives back what reserve took.
func (s *session) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots--
}

// nextData gives the context of the wait for data that was agreed on now. The wait
// for what was agreed on before ends: the server has forgotten it, too.
func (s *session) nextData() context.Context {
	if s.supersede != nil {
		s.supersede()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.supersede = cancel
	return ctx
}

// servePassive waits for the client at the port that it was told, and leads it
// to the server's.
func (s *session) servePassive(ctx context.Context, e *expectation, to netip.AddrPort) {
	defer s.Hub.forget(e)
	timer := time.NewTimer(s.DataWait)
	defer timer.Stop()
	select {
	case conn := <-e.come:
		s.lead(conn, to)
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lead connects a client's data connection to the server.
func (s *session) lead(client *net.TCPConn, to netip.AddrPort) {
	if !s.reserve() {
		s.Log.Warn("ftp: too many data connections at once", "client", s.ClientAddr, "bound", maxData)
		reset(client)
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.DataWait)
	defer cancel()
	server, err := s.Dial(ctx, to)
	if err != nil {
		s.Log.Warn("ftp: no data connection to the server", "client", s.ClientAddr, "backend", to, "cause", err)
		reset(client)
		s.free()
		return
	}
	s.join(client, server)
}

// join makes one data connection of its two halves, for which there is a
// reservation. The session does not wait for its end, only counts it: the
// server may close the control connection before the client has all of the data.
func (s *session) join(client, server *net.TCPConn) {
	conn, err := s.secureData(client)
	if err != nil {
		s.Log.Warn("ftp: data refused", "client", s.ClientAddr, "cause", err)
		reset(client)
		reset(server)
		s.free()
		return
	}
	s.mu.Lock()
	s.data++
	s.mu.Unlock()
	s.Relay(conn, server, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.data--
		s.slots--
		s.moved = time.Now()
	})
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

var errFull = fmt.Errorf("%d data connections at once", maxData)

// offer opens the socket, on our side of the control connection: servers
// connect to no other address (RFC 2577 §3).
func (s *session) offer(client netip.AddrPort) (*activeOffer, error) {
	if !s.reserve() {
		return nil, errFull
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	if s.Transparent {
		config.Control = beTransparent
	}
	l, err := config.Listen(s.ctx, "tcp4", netip.AddrPortFrom(s.Source, 0).String())
	if err != nil {
		s.free()
		return nil, err
	}
	listener := l.(*net.TCPListener)
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	return &activeOffer{listener, netip.AddrPortFrom(s.Source, at.Port()), client}, nil
}

// beTransparent lets a socket have an address that is not this machine's.
func beTransparent(_, _ string, raw syscall.RawConn) (err error) {
	failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
	return errors.Join(failed, err)
}

// withdraw ends an offer that leads to no data connection.
func (s *session) withdraw(o *activeOffer) {
	o.close()
	s.free()
}

// lateWait is how long a server's connection may be on its way when the client
// has agreed on the next one already.
const lateWait = time.Second

// serveActive waits for the server and connects it to the client.
func (s *session) serveActive(ctx context.Context, o *activeOffer) {
	server := s.awaitServer(ctx, o)
	if server == nil {
		s.withdraw(o)
		return
	}
	o.close()
	s.connectClient(server, o.client)
}

// awaitServer gives the server's connection; nil: time is up, or the session at
// its end.
func (s *session) awaitServer(ctx context.Context, o *activeOffer) *net.TCPConn {
	end := context.AfterFunc(s.ctx, o.close)
	defer end()
	if err := o.listener.SetDeadline(time.Now().Add(s.DataWait)); err != nil {
		return nil
	}
	late := context.AfterFunc(ctx, func() { _ = o.listener.SetDeadline(time.Now().Add(lateWait)) }) // or it is closed
	defer late()
	for {
		server, err := o.listener.AcceptTCP()
		if err != nil {
			return nil
		}
		from := server.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if from == s.ServerAddr {
			return server
		}
		s.Log.Warn("ftp: data of a stranger refused", "client", s.ClientAddr, "peer", from)
		reset(server)
	}
}

// connectClient opens the other half of an active data connection, from the
// address that the client knows.
func (s *session) connectClient(server *net.TCPConn, to netip.AddrPort) {
	dialer := net.Dialer{Timeout: s.DataWait, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.Door, 0)), Control: descriptors.Now().Control}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(s.ctx, "tcp", to.String())
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			s.Log.Warn("ftp: no data connection to the client", "client", s.ClientAddr, "cause", err)
		}
		reset(server)
		s.free()
		return
	}
	s.join(conn.(*net.TCPConn), server)
}
