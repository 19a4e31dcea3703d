package pipe

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
)

// A dialing is a stream's state while the backend has not answered yet.
type dialing struct {
	Plan
	begun time.Time // of this attempt
	by    uint32    // tick of giving up
}

// errNoAnswer is the error of a backend that let Plan.Connect pass.
var errNoAnswer = fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded)

func (p *Plan) wait() time.Duration {
	if p.Connect > 0 {
		return p.Connect
	}
	return DefaultConnect
}

// connect begins to connect to the backend, asking for other plans as long as
// that fails at once. False: the stream is over.
func (l *loop) connect(s *Stream) bool {
	for {
		p := &s.dial.Plan
		if !p.Backend.IsValid() {
			l.abort(s, Result{Reason: Refused})
			return false
		}
		fd, err := dialSocket(p, l.engine.bounds)
		if err == nil {
			s.ends[1] = end{fd: fd, flags: mute | nagled}
			s.dial.begun = time.Now()
			s.dial.by = l.now + ticks(p.wait())
			l.wheel.remove(s)
			l.schedule(s)
			return l.join(s, 1)
		}
		if !l.replan(s, err) {
			return false
		}
	}
}

// connected is called for each event while s connects. True: it is through.
func (l *loop) connected(s *Stream) bool {
	client, backend := &s.ends[0], &s.ends[1]
	if client.is(broken) {
		client.flags &^= broken
		if err := socketError(client.fd); err != 0 {
			l.fail(s, Client, err)
			return false
		}
	}
	if backend.is(broken) {
		backend.flags &^= broken
		if err := socketError(backend.fd); err != 0 {
			l.unreachable(s, os.NewSyscallError("connect", err))
			return false
		}
	}
	if !backend.is(writable) {
		return false
	}
	if s.dial.Connected != nil {
		s.dial.Connected(time.Since(s.dial.begun))
	}
	s.dial = nil
	s.last = l.now
	l.wheel.remove(s)
	l.schedule(s)
	return l.greet(s)
}

// unreachable tries the next backend, if there is one.
func (l *loop) unreachable(s *Stream, err error) {
	waited := time.Since(s.dial.begun).Round(time.Millisecond)
	if l.replan(s, fmt.Errorf("connect to %s: %w after %v", s.dial.Backend, err, waited)) {
		l.connect(s)
	}
}

// replan asks for another plan. False: there is none, the stream is over.
func (l *loop) replan(s *Stream, err error) bool {
	closeFD(s.ends[1].fd)
	s.ends[1] = end{fd: -1}
	var next Plan
	if s.dial.Failed != nil {
		next = s.dial.Failed(err)
	}
	if !next.Backend.IsValid() {
		l.abort(s, Result{Reason: Unreachable, Side: Backend, Err: err})
		return false
	}
	life := s.life
	s.limits(next.Options)
	if s.life != 0 {
		s.life += l.now
	}
	if life != 0 {
		s.life = life // the client's time goes on
	}
	s.done = next.Done
	s.dial.Plan = next
	return true
}

// greet joins Options.Head and what the client has said already, so that they
// leave in one segment. False: the stream is over.
func (l *loop) greet(s *Stream) bool {
	client, h := &s.ends[0], &s.half[0]
	p := l.scratch.bytes
	if len(h.rest) == 0 || len(h.rest) >= len(p) || !client.is(readable) {
		return true
	}
	n, err := recv(client.fd, p[len(h.rest):])
	switch {
	case err == unix.EAGAIN:
		client.flags &^= readable
	case err != 0:
		l.fail(s, Client, err)
		return false
	case n == 0:
		l.sawEOF(s, 0)
	default:
		n += copy(p, h.rest)
		l.keep(h, p[:n])
	}
	return true
}

// dialSocket makes a socket that connects to p.Backend, if there is one to be had within the bounds.
func dialSocket(p *Plan, within descriptors.Bounds) (int32, error) {
	fd, err := tcpSocket(p.Backend.Addr())
	if err == nil {
		err = within.Take(int(fd))
	}
	if err != nil {
		return -1, fmt.Errorf("connect to %s: %w", p.Backend, os.NewSyscallError("socket", err))
	}
	prepare(fd)
	if p.Source.IsValid() {
		if err := bindSource(int(fd), p); err != nil {
			closeFD(fd)
			return -1, fmt.Errorf("connect to %s from %s: %w", p.Backend, p.Source, err)
		}
	}
	if err := connectTo(fd, p.Backend); err != 0 && err != unix.EINPROGRESS && err != unix.EINTR {
		closeFD(fd)
		return -1, fmt.Errorf("connect to %s: %w", p.Backend, os.NewSyscallError("connect", err))
	}
	return fd, nil
}

// bindSource lets the kernel choose the port when it knows the destination
// (ip(7), IP_BIND_ADDRESS_NO_PORT): one source address then carries 28,232
// connections to each backend, not to all.
func bindSource(fd int, p *Plan) error {
	level, transparent := unix.IPPROTO_IP, unix.IP_TRANSPARENT
	if !p.Source.Addr().Is4() {
		level, transparent = unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT
	}
	if p.Transparent {
		if err := unix.SetsockoptInt(fd, level, transparent, 1); err != nil {
			return fmt.Errorf("set IP_TRANSPARENT (needs CAP_NET_ADMIN): %w", err)
		}
	}
	if p.Source.Port() == 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", err)
		}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, sockaddr(p.Source)))
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
