package fiber

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Conn is a TCP connection of a Loop. But for SetReadDeadline,
// SetWriteDeadline and SetDeadline, its methods are called by the loop's
// fibers only: at most one that reads and one that writes.
type Conn struct {
	loop          *Loop
	fd            int32
	slot, gen     int32
	local, remote netip.AddrPort

	readable, writable bool
	ended              bool   // the other side has sent all, or reset
	reader, writer     *fiber // that wait
	idle               func() // of OnReadable
	dry                bool   // Read fails rather than waits

	lateRead, lateWrite atomic.Bool
}

// Take makes a connection one of the loop's, from any goroutine. tcp is closed
// in any case.
func (l *Loop) Take(tcp *net.TCPConn) (*Conn, error) {
	c := &Conn{loop: l, slot: -1, local: addrPort(tcp.LocalAddr()), remote: addrPort(tcp.RemoteAddr())}
	raw, err := tcp.SyscallConn()
	if err != nil {
		tcp.Close()
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var n int
		n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		c.fd = int32(n)
	})
	tcp.Close()
	if cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return c, nil
}

// TakeFD makes a connected TCP socket one of the loop's, from any goroutine.
// The descriptor is non-blocking, and the Conn's from now on.
func (l *Loop) TakeFD(fd int, local, remote netip.AddrPort) *Conn {
	return &Conn{loop: l, slot: -1, fd: int32(fd), local: local, remote: remote}
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return tcp.AddrPort()
}

// Loop is the loop that the connection belongs to.
func (c *Conn) Loop() *Loop { return c.loop }

// watch registers the connection with its loop, at its first wait.
func (c *Conn) watch() error {
	l := c.loop
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.slot = int32(len(l.conns))
		l.conns = append(l.conns, nil)
	}
	l.gen++
	c.gen = l.gen
	l.conns[c.slot] = c
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1),
		Fd:     c.slot, Pad: c.gen,
	}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, int(c.fd), &ev)
}

// OnReadable has f run in a fiber when there is something to read, or the
// connection's end, or a deadline: until then the connection has no fiber.
func (c *Conn) OnReadable(f func()) {
	if c.slot < 0 {
		if err := c.watch(); err != nil {
			c.lateRead.Store(true)
		}
	}
	if c.readable || c.lateRead.Load() {
		// Not now: the caller may be the fiber that served the last request.
		c.loop.jobs = append(c.loop.jobs, f)
		return
	}
	c.idle = f
}

func (c *Conn) wakeReader() {
	if f := c.reader; f != nil {
		c.reader = nil
		c.loop.run(f)
	} else if job := c.idle; job != nil {
		c.idle = nil
		c.loop.Go(job)
	}
}

func (c *Conn) wakeWriter() {
	if f := c.writer; f != nil {
		c.writer = nil
		c.loop.run(f)
	}
}

// Readable reports whether something is there to be read, as far as the loop
// has been told: a Read may wait all the same.
func (c *Conn) Readable() bool { return c.readable && !c.lateRead.Load() }

// WaitRead waits until there is something to read.
func (c *Conn) WaitRead() error {
	if c.slot < 0 {
		if err := c.watch(); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	for !c.readable {
		if c.lateRead.Load() {
			return os.ErrDeadlineExceeded
		}
		if c.dry {
			return ErrDry
		}
		c.reader = c.loop.current
		c.loop.current.yield(struct{}{})
	}
	if c.lateRead.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// ErrDry is what a Read in Dry fails with in place of waiting. It is a
// temporary net.Error, which crypto/tls forgets: the next Read goes on where
// this one stopped.
var ErrDry net.Error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "nothing to read now" }
func (dryError) Timeout() bool   { return false }
func (dryError) Temporary() bool { return true }

// Dry calls f, whose Reads of c fail with ErrDry where they would wait.
func (c *Conn) Dry(f func()) {
	c.dry = true
	f()
	c.dry = false
}

// A Swap is a connection whose inside can be exchanged while nobody uses it:
// a TLS session lives on while its connection moves from a goroutine to a
// loop or back.
type Swap struct{ net.Conn }

// Read implements net.Conn. After a read that did not fill p the socket is
// known to be empty: epoll(7), edge-triggered.
func (c *Conn) Read(p []byte) (int, error) {
	c.loop.pause()
	for {
		if err := c.WaitRead(); err != nil {
			return 0, err
		}
		n, errno := recv(c.fd, p, 0)
		switch {
		case errno == unix.EAGAIN:
			c.readable = false
		case errno != 0:
			return 0, os.NewSyscallError("read", errno)
		case n == 0:
			return 0, io.EOF
		default:
			if n < len(p) && !c.ended {
				c.readable = false
			}
			return n, nil
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.loop.pause()
	sent := 0
	for sent < len(p) {
		if c.lateWrite.Load() {
			return sent, os.ErrDeadlineExceeded
		}
		n, errno := send(c.fd, p[sent:])
		switch {
		case errno == unix.EAGAIN:
			if err := c.waitWrite(); err != nil {
				return sent, err
			}
		case errno != 0:
			return sent, os.NewSyscallError("write", errno)
		}
		sent += n
	}
	return sent, nil
}

// WriteNow writes what the socket takes without waiting: less than p where it
// is full.
func (c *Conn) WriteNow(p []byte) (int, error) {
	c.loop.pause()
	if c.lateWrite.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	n, errno := send(c.fd, p)
	if errno != 0 && errno != unix.EAGAIN {
		return n, os.NewSyscallError("write", errno)
	}
	return n, nil
}

func (c *Conn) waitWrite() error {
	c.writable = false
	if c.slot < 0 {
		if err := c.watch(); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	for !c.writable {
		if c.lateWrite.Load() {
			return os.ErrDeadlineExceeded
		}
		c.writer = c.loop.current
		c.loop.current.yield(struct{}{})
	}
	return nil
}

// Peek looks at the next byte without taking it or waiting: nil, io.EOF,
// unix.EAGAIN or what is wrong.
func (c *Conn) Peek() error {
	var b [1]byte
	n, errno := recv(c.fd, b[:], unix.MSG_PEEK)
	switch {
	case errno != 0:
		return errno
	case n == 0:
		return io.EOF
	}
	return nil
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	if c.fd < 0 {
		return net.ErrClosed
	}
	c.forget()
	closeFD(c.fd)
	c.fd = -1
	return nil
}

func (c *Conn) forget() {
	if c.slot >= 0 {
		c.loop.conns[c.slot] = nil
		c.loop.free = append(c.loop.free, c.slot)
		c.slot = -1
	}
}

// CloseWrite ends our side.
func (c *Conn) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(int(c.fd), unix.SHUT_WR))
}

// SetLinger is net.TCPConn's.
func (c *Conn) SetLinger(sec int) error {
	l := unix.Linger{Onoff: 1, Linger: int32(sec)}
	return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &l))
}

// Detach takes the connection off its loop, for code that has a goroutine.
// The Conn is done with in any case.
func (c *Conn) Detach() (*net.TCPConn, error) {
	unix.EpollCtl(c.loop.epoll, unix.EPOLL_CTL_DEL, int(c.fd), nil)
	c.forget()
	file := os.NewFile(uintptr(c.fd), "tcp")
	c.fd = -1
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline implements net.Conn, as SetReadDeadline does.
func (c *Conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline knows two times: one that has passed ends the present and
// all later Reads, any other lets them be again. Timers are package sweep's.
// Any goroutine may call it.
func (c *Conn) SetReadDeadline(t time.Time) error {
	late := hasPassed(t)
	c.lateRead.Store(late)
	if late {
		c.loop.Post(c.wakeReader)
	}
	return nil
}

// SetWriteDeadline is SetReadDeadline for Writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	late := hasPassed(t)
	c.lateWrite.Store(late)
	if late {
		c.loop.Post(c.wakeWriter)
	}
	return nil
}

func hasPassed(t time.Time) bool { return !t.IsZero() && !t.After(time.Now()) }
