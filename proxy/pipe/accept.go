package pipe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// acceptBatch is how many connections a loop takes before it serves again.
const acceptBatch = 4

// A Listener is a socket whose connections an Engine accepts.
type Listener struct {
	engine *Engine
	fd     int32
	addr   netip.AddrPort
	plan   func(client, local netip.AddrPort) Plan
	failed atomic.Bool // the last accept: it was logged

	inherits bool // accepted sockets have SO_OOBINLINE already

	// mu is held for reading while a loop accepts, so that Close can wait for
	// the last call of plan.
	mu     sync.RWMutex
	closed bool
}

// rest is a listener that a loop left alone until a tick.
type rest struct {
	*Listener
	until uint32
}

func newListener(e *Engine, ln *net.TCPListener, plan func(client, local netip.AddrPort) Plan) (*Listener, error) {
	defer ln.Close()
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.New("not a TCP listener")
	}
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(own uintptr) {
		fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	// Accepted sockets inherit both; but a Multipath TCP listener, the default of
	// net.ListenConfig, has no SO_OOBINLINE to pass on.
	setInt(int32(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	inherits := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) == nil
	return &Listener{engine: e, fd: int32(fd), addr: addr.AddrPort(), plan: plan, inherits: inherits}, nil
}

// Addr returns the address listened on.
func (a *Listener) Addr() netip.AddrPort { return a.addr }

// File returns a duplicate of the listening socket, to be handed to another
// process or to net.FileListener. The caller closes it.
func (a *Listener) File() (*os.File, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		return nil, fmt.Errorf("pipe: listener %s: %w", a.addr, net.ErrClosed)
	}
	fd, err := unix.FcntlInt(uintptr(a.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("pipe: listener %s: %w", a.addr, os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), "tcp:"+a.addr.String()), nil
}

// Close stops accepting; the socket is gone unless [Listener.File] lent it out.
// Streams go on. When it returns, the plan function will not be called again. It
// may be called twice, but not from the plan function.
func (a *Listener) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	for _, l := range a.engine.loops {
		l.unlisten(a)
	}
	closeFD(a.fd)
	return nil
}

const listenEvents = unix.EPOLLIN | unix.EPOLLEXCLUSIVE // one loop wakes for one client

func (l *loop) listen(a *Listener) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
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
		size := uint32(unsafe.Sizeof(l.peer))
		fd, _, err := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(a.fd), uintptr(unsafe.Pointer(&l.peer)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch err {
		case 0:
			if a.failed.Load() {
				a.failed.Store(false)
			}
			l.welcome(a, int32(fd), addrPort(&l.peer))
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			if a.failed.CompareAndSwap(false, true) {
				l.engine.log.Warn("cannot accept; trying again every 200 ms", "listener", a.addr, "err", err)
			}
			l.resting = append(l.resting, rest{a, l.now + restTick})
			unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(a.fd), nil)
			return
		default: // accept(2): the error of a client that is gone already
		}
	}
}

// wakeListeners tries the listeners again that have rested.
func (l *loop) wakeListeners() {
	if len(l.resting) == 0 || l.now < l.resting[0].until {
		return
	}
	a := l.resting[0].Listener
	l.resting = l.resting[1:]
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		return
	}
	if err := l.watch(a.fd, aboutListener, a.fd, listenEvents); err != nil {
		l.resting = append(l.resting, rest{a, l.now + restTick})
	}
}

// welcome begins the stream of a client that came by this loop.
func (l *loop) welcome(a *Listener, fd int32, client netip.AddrPort) {
	local := a.addr
	if local.Addr().IsUnspecified() {
		local = localAddr(fd)
	}
	if !a.inherits {
		prepare(fd)
	}
	p := a.plan(client, local)
	s := l.engine.newStream(p.Options)
	s.loop = l
	s.ends[0].fd = fd
	if !l.table.put(s) {
		s.close(true)
		l.engine.finish(s, Result{Reason: Failed, Err: errFull})
		return
	}
	s.dial = &dialing{Plan: p}
	if l.join(s, aboutClient) {
		l.adopt(s)
	}
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

func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}
