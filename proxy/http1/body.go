package http1

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
)

// How a body's end is found.
const (
	fixed     = iota // after left bytes
	chunked          // by its own framing, RFC 9112 §7.1
	untilShut        // when the sender closes; responses only
)

// errCut is a body that ended before its length was reached.
var errCut = errors.New("content cut short")

// A pace bounds how long a body may keep us waiting.
type pace struct {
	idle  time.Duration // for the next bytes, 0: no bound
	grace time.Duration // before rate counts
	rate  int64         // bytes/s on average, 0: no bound
}

// A body reads the content of one message from a wire, as its framing says,
// and never a byte further.
type body struct {
	w      *wire
	kind   int
	left   int64 // bytes to come: of the content, or of the chunk
	chunk  chunkState
	bounds bounds // of the trailer section
	fields message.Header

	pace   pace
	got    int64
	waited time.Duration

	// first, where not nil, is called once before the first wait for bytes:
	// it sends 100 (Continue).
	first func() error

	err      error
	complete atomic.Bool // the end was reached; read by other goroutines
}

func (b *body) reset(w *wire, kind int, length int64) {
	b.w, b.kind, b.left, b.chunk = w, kind, length, chunkState{}
	b.fields, b.got, b.waited, b.first, b.err = nil, 0, 0, nil, nil
	b.complete.Store(kind == fixed && length == 0)
}

// Trailer returns the fields behind a chunked body that may be passed on.
func (b *body) Trailer() message.Header { return b.fields }

// Ready is positive where Read returns without waiting: how many bytes are
// there, or 1 for the end of chunked content.
func (b *body) Ready() int {
	n := int64(len(b.w.unread()))
	switch b.kind {
	case fixed:
		return int(min(n, b.left))
	case chunked:
		return b.chunksReady()
	}
	return int(n)
}

// Read returns content; io.EOF only at its true end.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if err != nil {
		if err == io.EOF {
			b.complete.Store(true)
		}
		b.err = err
	}
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	switch b.kind {
	case fixed:
		if b.left == 0 {
			return 0, io.EOF
		}
		n, err := b.take(p, b.left)
		b.left -= int64(n)
		if b.left == 0 && err == nil {
			b.complete.Store(true)
		}
		return n, short(err)
	case chunked:
		n, err := b.readChunked(p)
		return n, err
	default:
		return b.take(p, 1<<62)
	}
}

// short makes the end of the connection inside a body an error.
func short(err error) error {
	if err == io.EOF {
		return errCut
	}
	return err
}

// take reads up to max bytes into p: what is there already, else from the
// connection, without a copy where p is large.
func (b *body) take(p []byte, max int64) (int, error) {
	if int64(len(p)) > max {
		p = p[:max]
	}
	if len(b.w.unread()) == 0 && len(p) >= bufferSize {
		b.w.release()
		n, err := b.wait(func() (int, error) { return b.w.conn.Read(p) })
		b.got += int64(n)
		return n, err
	}
	if len(b.w.unread()) == 0 {
		if _, err := b.wait(b.fill); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.w.unread())
	b.w.r += n
	b.got += int64(n)
	return n, nil
}

func (b *body) fill() (int, error) { return 0, b.w.fill() }

// wait makes read wait no longer than the pace allows. The time counts that
// we waited for the sender, not the time that nobody asked it for more.
func (b *body) wait(read func() (int, error)) (int, error) {
	if b.first != nil {
		first := b.first
		b.first = nil
		if err := first(); err != nil {
			return 0, err
		}
	}
	if b.pace.rate == 0 {
		b.w.guard.Read(b.pace.idle)
		n, err := read()
		b.w.guard.Read(0)
		return n, err
	}
	credit := b.pace.grace + time.Duration(float64(b.got)/float64(b.pace.rate)*float64(time.Second)) - b.waited
	begin := time.Now()
	b.w.guard.Read(max(min(credit, b.pace.idle), time.Millisecond))
	n, err := read()
	b.w.guard.Read(0)
	b.waited += time.Since(begin)
	return n, err
}

// spliceMin is the content from which the kernel moves the bytes better than
// we do; spliceStep is how much it may move before deadlines are set anew: a
// slow client has all of that time for it. On an event loop they are set anew
// with each move, and loopStep is when the pace of reading is looked at.
const (
	spliceMin  = 64 << 10
	spliceStep = 64 << 10
	loopStep   = 1 << 20
)

// canSplice reports whether the rest of the body may go from socket to
// socket: both of the runtime's, or both of one event loop.
func (b *body) canSplice(dst net.Conn) bool {
	if b.kind != fixed || b.err != nil || b.left < spliceMin || len(b.w.unread()) > 0 {
		return false
	}
	switch dst := dst.(type) {
	case *net.TCPConn:
		return b.w.raw != nil
	case *fiber.Conn:
		src, ok := b.w.conn.(*fiber.Conn)
		return ok && src.Loop() == dst.Loop()
	}
	return false
}

// spliceTo moves one step of the body to dst, whose write deadline is the
// caller's: progress puts it off. The returned error is of either connection.
func (b *body) spliceTo(dst net.Conn, progress func()) (int64, error) {
	b.w.release()
	n, err := b.wait(func() (int, error) {
		n, err := b.splice(dst, progress)
		return int(n), err
	})
	b.got += int64(n)
	b.left -= int64(n)
	if b.left == 0 {
		b.complete.Store(true)
	}
	if err != nil && err != fiber.ErrNoPipe {
		b.err = err
	}
	return int64(n), err
}

func (b *body) splice(dst net.Conn, progress func()) (int64, error) {
	if dst, ok := dst.(*fiber.Conn); ok {
		moved, err := dst.SpliceFrom(b.w.conn.(*fiber.Conn), min(b.left, loopStep), progress)
		if err == io.ErrUnexpectedEOF {
			err = errCut
		}
		return moved, err
	}
	from := io.LimitedReader{R: b.w.conn, N: min(b.left, spliceStep)}
	moved, err := dst.(*net.TCPConn).ReadFrom(&from)
	if err == nil && from.N > 0 {
		err = errCut
	}
	return moved, err
}
