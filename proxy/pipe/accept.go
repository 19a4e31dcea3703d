package pipe

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
)

// acceptBatch is how many connections a loop takes before it serves again.
const acceptBatch = 4

// quietAfter is for how many seconds accepts must not have failed before it is
// logged again: at the limit each client that goes lets one more in.
const quietAfter = 60

// rest is a listener that a loop left alone until a tick.
type rest struct {
	*Listener
	until uint32
}

const listenEvents = unix.EPOLLIN | unix.EPOLLEXCLUSIVE // one loop wakes for one client

func (l *loop) listen(a *Listener) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if l.listeners[a.fd] == a {
		return nil
	}
	if err := l.watch(a.fd, aboutListener, a.fd, listenEvents); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	l.listeners[a.fd] = a
	return nil
}

func (l *loop) unlisten(a *Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.listeners[a.fd] != a {
		return
	}
	delete(l.listeners, a.fd)
	unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(a.fd), nil) // ENOENT: it rests
}

// accept takes some of the clients that wait.
func (l *loop) accept(fd int32) {
	l.mu.Lock()
	a := l.listeners[fd]
	l.mu.Unlock()
	if a == nil {
		return
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		return
	}
	for range acceptBatch {
		if l.full && descriptors.Next(l.epoll) >= l.engine.bounds.Accept {
			l.rest(a, unix.EMFILE)
			return
		}
		size := uint32(unsafe.Sizeof(l.peer))
		fd, _, err := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(a.fd), uintptr(unsafe.Pointer(&l.peer)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch err {
		case 0:
			l.full = int32(fd) >= l.engine.bounds.Accept
			l.welcome(a, int32(fd), addrPort(&l.peer))
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.rest(a, err)
			return
		default: // accept(2): the error of a client that is gone already
		}
	}
}

// rest leaves a listener alone for a while: there are no descriptors for its clients.
func (l *loop) rest(a *Listener, why error) {
	if now := time.Now().Unix(); now-a.failed.Swap(now) > quietAfter {
		l.engine.log.Warn("cannot accept; trying again every 200 ms", "listener", a.addr, "error", why)
	}
	l.resting = append(l.resting, rest{a, l.now + restTick})
	l.unlisten(a)
}

// wakeListeners tries the listeners again that have rested.
func (l *loop) wakeListeners() {
	if len(l.resting) == 0 || l.now < l.resting[0].until {
		return
	}
	a := l.resting[0].Listener
	l.resting = l.resting[1:]
	a.gate.Lock()
	defer a.gate.Unlock()
	if a.paused {
		return
	}
	if err := l.listen(a); err != nil {
		l.resting = append(l.resting, rest{a, l.now + restTick})
	}
}

// welcome has a connection decided on.
func (l *loop) welcome(a *Listener, fd int32, client netip.AddrPort) {
	local := a.addr
	if local.Addr().IsUnspecified() {
		local = localAddr(fd)
	}
	if !a.inherits {
		prepare(fd)
	}
	l.conn = Conn{loop: l, fd: fd, client: client, local: local}
	a.handle(&l.conn)
	l.conn.Refuse()
}

// A Conn is a client's connection that was just accepted. It is good only until
// the function returns that handles it, and that function must not block. The
// first of Forward, Take, TakeFD and Refuse decides; when none was called, the connection
// is refused.
type Conn struct {
	loop          *loop
	fd            int32
	client, local netip.AddrPort
}

// Client returns the socket's other end as the kernel spells it (IPv4-mapped on a
// dual-stack socket), without a zone.
func (c *Conn) Client() netip.AddrPort { return c.client }

// Local returns the address that the client connected to, in the same way.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Control calls f with the socket, as [syscall.RawConn] does. Nothing happens once
// the connection is decided on.
func (c *Conn) Control(f func(fd uintptr)) {
	if c.fd >= 0 {
		f(uintptr(c.fd))
	}
}

// Refuse resets the connection.
func (c *Conn) Refuse() {
	abandon(c.fd)
	c.fd = -1
}

// Take makes an ordinary connection of c, for what has to be read before it can
// be decided on. [Engine.Forward] and [Engine.Relay] take it back.
func (c *Conn) Take() (*net.TCPConn, error) {
	if c.fd < 0 {
		return nil, fmt.Errorf("pipe: take a connection: %w", net.ErrClosed)
	}
	f := os.NewFile(uintptr(c.fd), "tcp:"+c.client.String())
	c.fd = -1
	defer f.Close() // net.FileConn makes a duplicate
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("pipe: take a connection: %w", err)
	}
	return conn.(*net.TCPConn), nil
}

// TakeFD gives the descriptor itself away, non-blocking and close-on-exec, for
// another event loop. -1: c was decided on before.
func (c *Conn) TakeFD() int {
	fd := int(c.fd)
	c.fd = -1
	return fd
}

// Forward relays c as p says. It returns nil when c was decided on before.
func (c *Conn) Forward(p Plan) *Stream {
	if c.fd < 0 {
		return nil
	}
	l := c.loop
	s := l.engine.newStream(p.Options)
	s.loop = l
	s.ends[0].fd = c.fd
	c.fd = -1
	if !l.table.put(s) {
		s.close(true)
		l.engine.finish(s, Result{Reason: Failed, Err: errFull})
		return s
	}
	s.dial = &dialing{Plan: p}
	if l.join(s, aboutClient) {
		l.adopt(s)
	}
	return s
}

func localAddr(fd int32) netip.AddrPort {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	_, _, err := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if err != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&sa)
}

// addrPort reads a socket address, without its zone: an IPv6 zone is of no use
// to a decision (a link-local client is as good as any other).
func addrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port))
	case unix.AF_INET6:
		v6 := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(v6.Addr), port(&v6.Port))
	}
	return netip.AddrPort{}
}
