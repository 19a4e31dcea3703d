package http2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/http1"
	"genkan/proxy/message"
)

// smallBody is the longest request body that is read whole before the backend
// is bothered with it; it can be sent a second time.
const smallBody = maxFrame

// A trip is one exchange with a backend.
type trip struct {
	t      *Transport
	r      *message.Request
	small  []byte  // the body, where it is short
	upload *upload // the body, where it is not
	hints  chan message.Header

	cancel  context.CancelFunc
	aborted atomic.Bool
	late    atomic.Bool

	mu     sync.Mutex  // guards what follows
	timer  *time.Timer // ends the exchange where the backend is late
	asking bool        // for the head of the answer
}

func newTrip(t *Transport, r *message.Request) (*trip, error) {
	x := &trip{t: t, r: r, hints: make(chan message.Header, 8)}
	switch {
	case r.Length == 0:
	case r.Length > 0 && r.Length <= smallBody && !r.Expect:
		x.small = make([]byte, r.Length)
		if _, err := io.ReadFull(r.Body, x.small); err != nil {
			return nil, err
		}
	default:
		x.upload = &upload{x: x}
	}
	return x, nil
}

// try sends the request once. again means that nothing of an answer came, and
// that the connection was not new.
func (x *trip) try(to http1.Target, fresh bool) (resp *message.Response, again bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, again, err = x.send(to, fresh)
	}()
	for over := false; !over; {
		var hint message.Header
		leave(x.r.Loop, func() {
			select {
			case hint = <-x.hints:
			case <-done:
				select {
				case hint = <-x.hints: // it came before the answer
				default:
					over = true
				}
			}
		})
		if hint != nil {
			x.r.Inform(103, hint)
		}
	}
	return resp, again, err
}

// trace has 103 (Early Hints) noted. It is called by the goroutine that reads
// for all requests of a connection, which must not wait for a client.
func (x *trip) trace(ctx context.Context) context.Context {
	if x.r.Inform == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			header := fields(http.Header(h))
			message.StripHops(&header)
			if code == 103 && header != nil {
				select {
				case x.hints <- header:
				default: // more hints than anybody needs
				}
			}
			return nil
		},
	})
}

// leave calls f, which blocks, where it may.
func leave(loop *fiber.Loop, f func()) {
	if loop == nil {
		f()
		return
	}
	loop.Leave(f)
}

func (x *trip) send(to http1.Target, fresh bool) (*message.Response, bool, error) {
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	if !x.r.OnAbort(x.abort) {
		cancel()
		return nil, false, &http1.Error{Fault: http1.FaultAborted, Addr: to.Addr, Err: errGone}
	}
	l, used, err := x.t.take(ctx, to, fresh)
	if err != nil {
		e := x.fault(to, err)
		if e.Fault == http1.FaultClosed {
			e.Fault = http1.FaultDial
		}
		x.end()
		return nil, false, e
	}
	out, err := request(x.trace(ctx), x.r, to)
	if err != nil {
		l.Release()
		x.end()
		return nil, false, &http1.Error{Fault: http1.FaultMalformed, Addr: to.Addr, Err: err}
	}
	switch out.ContentLength = x.r.Length; {
	case x.small != nil:
		out.Body = io.NopCloser(bytes.NewReader(x.small))
	case x.upload != nil:
		out.Body = x.upload
	}
	x.watch(x.t.config.HeadTimeout, true)
	in, err := l.RoundTrip(out)
	x.watch(0, false)
	if err != nil {
		e := x.fault(to, err)
		x.end()
		return nil, used && e.Fault == http1.FaultClosed, e
	}
	resp := x.answer(in)
	if resp.Status < 200 || resp.Status > 599 {
		resp.Release.Close()
		return nil, false, &http1.Error{Fault: http1.FaultMalformed, Addr: to.Addr, Err: fmt.Errorf("status %d: want 200 to 599", resp.Status)}
	}
	return resp, false, nil
}

// watch ends the exchange unless it is called again within d, or as long as
// the request asks for where that is more; 0 is no bound.
func (x *trip) watch(d time.Duration, asking bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asking = asking
	switch {
	case d == 0 && x.timer == nil:
	case d == 0:
		x.timer.Stop()
	case x.timer == nil:
		x.timer = time.AfterFunc(max(d, x.r.Idle), x.expire)
	default:
		x.timer.Reset(max(d, x.r.Idle))
	}
}

// progress puts the deadline of the answer off: the request is on its way.
func (x *trip) progress() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.asking {
		x.timer.Reset(max(x.t.config.HeadTimeout, x.r.Idle))
	}
}

func (x *trip) abort() {
	x.aborted.Store(true)
	x.cancel()
}

func (x *trip) expire() {
	x.late.Store(true)
	x.cancel()
}

// end lets go of the request. Nobody reads its body afterwards.
func (x *trip) end() {
	x.r.OnAbort(nil)
	x.cancel()
	x.watch(0, false)
	if x.upload != nil {
		x.upload.end()
	}
}

// fault finds what kind of error ended the exchange.
func (x *trip) fault(to http1.Target, err error) *http1.Error {
	e := &http1.Error{Fault: http1.FaultClosed, Addr: to.Addr, Err: err}
	switch {
	case x.upload != nil && x.upload.fault() != nil:
		e.Fault, e.Err = http1.FaultClient, x.upload.fault()
	case x.late.Load():
		e.Fault, e.Err = http1.FaultTimeout, errors.New("no answer in time")
	case x.aborted.Load():
		e.Fault, e.Err = http1.FaultAborted, errGone
	}
	return e
}

// An upload is the request's body as net/http reads it, in a goroutine that
// may outlive the exchange; the body itself must not be read then.
type upload struct {
	x *trip

	mu    sync.Mutex // guards ended and err, and is held while the body is read
	ended bool
	err   error // of the client's

	stop sync.Mutex // guards gone
	gone bool       // the body is the next request's, or nobody's
}

// Read passes content on.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return 0, errStopped
	}
	n, err := u.x.r.Body.Read(p)
	u.x.progress()
	if err != nil && err != io.EOF && err != errStopped {
		u.err = err
	}
	return n, err
}

// Close ends a Read that waits, where the backend wants no more.
func (u *upload) Close() error {
	u.stop.Lock()
	defer u.stop.Unlock()
	if !u.gone {
		u.x.r.Body.Stop()
	}
	return nil
}

// end ends a Read that waits, and keeps net/http from the body from then on.
func (u *upload) end() {
	u.Close()
	u.stop.Lock()
	u.gone = true
	u.stop.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
}

func (u *upload) fault() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// answer makes our response of net/http's.
func (x *trip) answer(in *http.Response) *message.Response {
	d := &download{x: x, in: in}
	resp := &message.Response{Status: in.StatusCode, Header: fields(in.Header), Length: in.ContentLength, Release: d}
	message.StripHops(&resp.Header)
	if len(in.Trailer) > 0 || in.StatusCode == 204 {
		resp.Length = -1 // what follows the content counts, too
	}
	if !message.NoBody(x.r.Method, in.StatusCode) && in.Body != http.NoBody {
		resp.Body = d
	}
	return resp
}

// A download is the content of an answer.
type download struct {
	x  *trip
	in *http.Response
}

// Read returns content.
func (d *download) Read(p []byte) (n int, err error) {
	leave(d.x.r.Loop, func() {
		d.x.watch(d.x.t.config.BodyIdle, false)
		n, err = d.in.Body.Read(p)
		d.x.watch(0, false)
	})
	if err != nil && err != io.EOF && d.x.late.Load() {
		err = errors.New("the backend fell silent")
	}
	return n, err
}

// Trailer is what came behind the content and may be passed on.
func (d *download) Trailer() message.Header {
	trailer := fields(d.in.Trailer)
	trailer.DelFunc(func(name string) bool { return !message.KeepTrailer(name) })
	return trailer
}

// Ready is not known.
func (d *download) Ready() int { return 0 }

// Close ends the exchange.
func (d *download) Close() error {
	d.x.end()
	return d.in.Body.Close()
}
