package pipe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Listener is a socket whose connections an Engine accepts.
type Listener struct {
	engine *Engine
	fd     int32
	addr   netip.AddrPort
	handle func(*Conn)
	failed atomic.Int64 // when an accept failed last, Unix seconds

	inherits bool // accepted sockets have SO_OOBINLINE already

	// mu is held for reading while a loop accepts, so that Close can wait for
	// the last call of handle.
	mu     sync.RWMutex
	closed bool

	gate   sync.Mutex // guards paused and who watches the socket
	paused bool
}

func newListener(e *Engine, ln *net.TCPListener, handle func(*Conn)) (*Listener, error) {
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
	return &Listener{engine: e, fd: int32(fd), addr: addr.AddrPort(), handle: handle, inherits: inherits}, nil
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

// Pause lets clients wait in the kernel's queue until [Listener.Resume]. It may
// be called from the function that handles connections, which each loop may still
// call for what it has accepted already.
func (a *Listener) Pause() {
	a.gate.Lock()
	defer a.gate.Unlock()
	if a.paused {
		return
	}
	a.paused = true
	for _, l := range a.engine.loops {
		l.unlisten(a)
	}
}

// Resume ends Pause. It may be called from anywhere.
func (a *Listener) Resume() {
	a.gate.Lock()
	defer a.gate.Unlock()
	if !a.paused {
		return
	}
	a.paused = false
	for _, l := range a.engine.loops {
		if err := l.listen(a); err != nil && !errors.Is(err, errClosed) {
			a.engine.log.Error("cannot accept any more", "listener", a.addr, "error", err)
		}
	}
}

// Close stops accepting; the socket is gone unless [Listener.File] lent it out.
// Streams go on. When it returns, the function that handles connections will not
// be called again. It may be called twice, but not from that function.
func (a *Listener) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	a.gate.Lock()
	defer a.gate.Unlock()
	a.paused = true
	for _, l := range a.engine.loops {
		l.unlisten(a)
	}
	closeFD(a.fd)
	a.engine.mu.Lock()
	defer a.engine.mu.Unlock()
	delete(a.engine.listeners, a)
	return nil
}
