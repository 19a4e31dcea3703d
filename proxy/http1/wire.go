package http1

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
)

// bufferSize is what one read takes at most, and the room for a message's
// head in the usual case.
const bufferSize = 16 << 10

// buffers lends buffers of bufferSize to connections while they have bytes
// in flight. (A sync.Pool is a cache of the runtime's, not state of ours.)
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func borrow() []byte { return buffers.Get().(*[bufferSize]byte)[:] }

// giveBack returns what borrow lent; a buffer that grew is left to the
// garbage collector.
func giveBack(b []byte) {
	if cap(b) == bufferSize {
		buffers.Put((*[bufferSize]byte)(b[:bufferSize]))
	}
}

// headerSize is how many fields a request has room for in the usual case.
const headerSize = 16

// headers lends room for fields in the same way.
var headers = sync.Pool{New: func() any { return new([headerSize]message.Field) }}

func borrowHeader() message.Header { return headers.Get().(*[headerSize]message.Field)[:0] }

func giveBackHeader(h message.Header) {
	if cap(h) == headerSize {
		clear(h[:headerSize])
		headers.Put((*[headerSize]message.Field)(h[:headerSize]))
	}
}

// A wire is one connection and what was read from it but not yet used.
type wire struct {
	conn  net.Conn
	guard *sweep.Guard
	buf   []byte // nil while the wire waits with nothing unread
	r, w  int    // buf[r:w] is unread

	// loops is the event loop's connection, nil where there is none: conn
	// itself, or what conn, which is TLS then, reads from.
	loops  *fiber.Conn
	sealed bool // conn is TLS

	raw    syscall.RawConn // nil where conn is not a TCP socket
	rawFn  func(fd uintptr) bool
	rawN   int
	rawErr error
}

func (w *wire) init(conn net.Conn, guard *sweep.Guard) {
	w.conn, w.guard, w.raw = conn, guard, nil
	w.loops, _ = conn.(*fiber.Conn)
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			w.raw, w.rawFn = raw, w.readReady
		}
	}
}

// unread is the bytes that were read and not used. They stay valid until the
// next call of fill or release.
func (w *wire) unread() []byte { return w.buf[w.r:w.w] }

// release gives the buffer back where nothing in it is needed.
func (w *wire) release() {
	if w.buf != nil && w.r == w.w {
		giveBack(w.buf)
		w.buf, w.r, w.w = nil, 0, 0
	}
}

// fill reads once, waiting for at least one byte. It fails where the buffer
// is full of unread bytes.
func (w *wire) fill() error {
	if w.r == w.w {
		w.r, w.w = 0, 0
	} else if w.w == len(w.buf) && w.r > 0 {
		w.w = copy(w.buf, w.buf[w.r:w.w])
		w.r = 0
	}
	if w.buf == nil && w.raw != nil {
		return w.fillRaw()
	}
	if w.buf == nil && w.loops != nil && !w.sealed {
		if err := w.loops.WaitRead(); err != nil {
			return err
		}
	}
	if w.buf == nil {
		w.buf = borrow()
	}
	if w.w == len(w.buf) {
		return io.ErrShortBuffer
	}
	n, err := w.conn.Read(w.buf[w.w:])
	w.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// fillRaw waits without a buffer and borrows one when there is something to
// read: an idle connection then costs no buffer.
func (w *wire) fillRaw() error {
	err := w.raw.Read(w.rawFn)
	if err == nil {
		err = w.rawErr
	}
	if err != nil {
		return &net.OpError{Op: "read", Net: "tcp", Addr: w.conn.RemoteAddr(), Err: err}
	}
	if w.rawN == 0 {
		return io.EOF
	}
	w.w = w.rawN
	return nil
}

// readReady is one non-blocking read; false means wait and call again.
func (w *wire) readReady(fd uintptr) bool {
	buf := borrow()
	n, err := syscall.Read(int(fd), buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), buf)
	}
	if n > 0 {
		w.buf, w.r, w.rawN, w.rawErr = buf, 0, n, nil
		return true
	}
	giveBack(buf)
	if err == syscall.EAGAIN {
		return false
	}
	w.rawN, w.rawErr = 0, err
	return true
}

// grow makes room for more unread bytes, up to max in all.
func (w *wire) grow(max int) bool {
	if w.w < len(w.buf) || w.r > 0 || w.buf == nil {
		return true
	}
	if len(w.buf) >= max {
		return false
	}
	bigger := make([]byte, min(2*len(w.buf), max))
	copy(bigger, w.buf)
	giveBack(w.buf)
	w.buf = bigger
	return true
}

// send writes p, which has to be done within the given time. What a socket takes
// at once needs no deadline.
func (w *wire) send(p []byte, within time.Duration) error {
	if w.loops != nil && !w.sealed {
		n, err := w.loops.WriteNow(p)
		if err != nil || n == len(p) {
			return err
		}
		p = p[n:]
	}
	w.guard.Write(within)
	_, err := w.conn.Write(p)
	w.guard.Write(0)
	return err
}

// alive reports whether an idle connection is still open and silent: bytes
// that nobody asked for make it as useless as its end.
func (w *wire) alive() bool {
	return !w.guard.ReadStruck() && w.peek() == syscall.EAGAIN
}

// open reports whether the other side has neither ended nor reset the
// connection, as far as we have been told.
func (w *wire) open() bool {
	err := w.peek()
	return err == nil || err == syscall.EAGAIN
}

// peek looks for a byte without waiting: nil, EAGAIN, io.EOF or why not. Any
// goroutine may call it, also while another reads, but for an event loop's
// connection. Of one that is neither, nothing is known: EAGAIN.
func (w *wire) peek() error {
	switch {
	case w.loops != nil:
		return w.loops.Peek()
	case w.raw == nil:
		return syscall.EAGAIN
	}
	return w.peekRaw()
}

func (w *wire) peekRaw() (err error) {
	cerr := w.raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, rerr := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err = rerr; err == nil && n == 0 {
			err = io.EOF
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}
