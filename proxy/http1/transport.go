package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
)

// A Target is a backend as the pool of connections knows it: two requests
// may use one connection, one after the other, only where Targets are equal.
type Target struct {
	// Addr is what Dial is given.
	Addr netip.AddrPort
	// Source is the address that the connection comes from, zero for the
	// machine's choice. It tells the backend who the client is, so it is
	// part of the key. Transparent says that it is not an address of ours.
	Source      netip.Addr
	Transparent bool
	// TLS is how the backend proves who it is; nil: it speaks plain. It is
	// not changed once it is used, and Equal Targets have the same.
	TLS *tls.Config
	// HTTP2 says that the backend speaks HTTP/2 (package http2's Transport).
	// Its websockets come by HTTP/1 all the same.
	HTTP2 bool
}

// TransportConfig says how backends are spoken to. Zero fields mean the
// default in their comment.
type TransportConfig struct {
	// Dial connects. It is given a context that ends with the client's wish
	// or after DialTimeout. Required.
	Dial        func(ctx context.Context, t Target) (net.Conn, error)
	DialTimeout time.Duration // 5 s
	// HeadTimeout bounds the wait for the answer's head; 60 s.
	HeadTimeout time.Duration
	// BodyIdle bounds the wait for the answer's next bytes; 5 min.
	BodyIdle time.Duration
	// WriteTimeout bounds each write of at most 32 KiB; 30 s.
	WriteTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept; 30 s.
	IdleTimeout time.Duration
	// MaxIdle bounds the unused connections of one Target on one loop; 128: more
	// requests than that at once have some dial anew. MaxIdleAll
	// those of all; 4096.
	MaxIdle, MaxIdleAll int
	// ContinueTimeout is how long a request body waits for the backend's
	// 100 before it is sent anyway; 1 s.
	ContinueTimeout time.Duration
	// Sweeper strikes late connections. Required; the caller runs it.
	Sweeper *sweep.Sweeper
}

// WithDefaults is c with its zero fields filled in.
func (c TransportConfig) WithDefaults() TransportConfig {
	for _, f := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.DialTimeout, 5 * time.Second}, {&c.HeadTimeout, time.Minute},
		{&c.BodyIdle, 5 * time.Minute}, {&c.WriteTimeout, 30 * time.Second},
		{&c.IdleTimeout, 30 * time.Second}, {&c.ContinueTimeout, time.Second},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	if c.MaxIdle == 0 {
		c.MaxIdle = 128
	}
	if c.MaxIdleAll == 0 {
		c.MaxIdleAll = 4096
	}
	return c
}

// A Fault is what went wrong with a request at a backend.
type Fault int

// The faults. The zero Fault is none.
const (
	FaultDial      Fault = iota + 1 // no connection
	FaultClosed                     // closed before the first byte of an answer
	FaultTimeout                    // no answer in time
	FaultMalformed                  // an answer that is none
	FaultClient                     // the client's body was cut or malformed
	FaultAborted                    // the client went away
)

// An Error is why there is no response.
type Error struct {
	Fault Fault
	Addr  netip.AddrPort // of the backend
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("backend %s: %v", e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// SmallBody is the longest request body that is read whole before the
// backend is bothered with it; it can be sent a second time.
const SmallBody = bufferSize

// A Transport sends requests to backends over connections that it keeps.
// Use NewTransport.
type Transport struct {
	config TransportConfig
	pool   pool
}

// NewTransport returns a Transport; Close ends it.
func NewTransport(c TransportConfig) *Transport {
	c = c.WithDefaults()
	return &Transport{config: c, pool: newPool(c.MaxIdle, c.MaxIdleAll)}
}

// CloseIdle closes the connections that are not in use.
func (t *Transport) CloseIdle() { t.pool.closeAll() }

// Expire closes the connections that were not in use for IdleTimeout. The
// owner calls it every few seconds.
func (t *Transport) Expire() { t.pool.expire(time.Now().Add(-t.config.IdleTimeout)) }

// RoundTrip sends r to a backend and returns the head of its answer; the
// caller closes resp.Release. The error is an *Error. next, where not nil,
// is asked for another backend where one cannot be connected to.
//
// A request that is idempotent and can be sent again is sent a second time,
// on a new connection, where the first was closed by the backend as we used
// it again: the backend may close an unused connection at any moment.
func (t *Transport) RoundTrip(r *message.Request, to Target, next Next) (*message.Response, error) {
	small, err := readSmallBody(r)
	if err != nil {
		return nil, &Error{FaultClient, to.Addr, err}
	}
	defer giveBack(small)
	for {
		resp, again, err := t.try(r, to, small, t.pool.get(poolKey{to, r.Loop}, r.Idempotent()))
		if again && r.Idempotent() && (r.Length == 0 || small != nil) {
			resp, _, err = t.try(r, to, small, nil)
		}
		if err == nil || next == nil || !isDialFault(err) {
			return resp, err
		}
		other, ok := next(to, err)
		if !ok {
			return nil, err
		}
		to = other
	}
}

func isDialFault(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Fault == FaultDial
}

// Next returns the backend to try after one could not be connected to, or
// false. It must come to an end.
type Next func(failed Target, err error) (Target, bool)

// readSmallBody reads a body of known, small length into a borrowed buffer.
func readSmallBody(r *message.Request) ([]byte, error) {
	if r.Length <= 0 || r.Length > SmallBody || r.Expect {
		return nil, nil
	}
	buf := borrow()
	if _, err := io.ReadFull(r.Body, buf[:r.Length]); err != nil {
		giveBack(buf)
		return nil, err
	}
	return buf[:r.Length], nil
}

// try sends the request over c, or a new connection where c is nil. again
// means that nothing of an answer came and c was a used connection.
func (t *Transport) try(r *message.Request, to Target, small []byte, c *backendConn) (resp *message.Response, again bool, err error) {
	used := c != nil
	if c == nil {
		if c, err = t.dial(r, to); err != nil {
			return nil, false, err
		}
	}
	if !r.OnAbort(c.abort) {
		c.close()
		return nil, false, &Error{FaultAborted, to.Addr, errAborted}
	}
	resp, err = c.exchange(r, small)
	if err == nil {
		return resp, false, nil
	}
	r.OnAbort(nil)
	e := c.fault(err)
	c.close()
	return nil, used && e.Fault == FaultClosed, e
}

var errAborted = errors.New("the client went away")

// dial opens a connection within its deadline.
func (t *Transport) dial(r *message.Request, to Target) (*backendConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.config.DialTimeout)
	defer cancel()
	if !r.OnAbort(cancel) {
		return nil, &Error{FaultAborted, to.Addr, errAborted}
	}
	conn, err := t.connect(ctx, r.Loop, to)
	if err != nil {
		fault := FaultDial
		if errors.Is(ctx.Err(), context.Canceled) {
			fault = FaultAborted
		}
		return nil, &Error{fault, to.Addr, err}
	}
	return conn, nil
}

// connect dials; a connection for an event loop becomes one of the loop's.
func (t *Transport) connect(ctx context.Context, loop *fiber.Loop, to Target) (c *backendConn, err error) {
	key := poolKey{to, loop}
	if loop == nil {
		return t.open(ctx, key)
	}
	loop.Leave(func() { c, err = t.open(ctx, key) })
	return c, err
}

// open dials, shakes hands where the backend speaks TLS, and gives the
// connection to the key's loop. It blocks.
func (t *Transport) open(ctx context.Context, key poolKey) (*backendConn, error) {
	conn, err := t.config.Dial(ctx, key.Target)
	if err != nil {
		return nil, err
	}
	var s *session
	if key.TLS != nil {
		if s, err = secure(ctx, conn, key.TLS); err != nil {
			return nil, err
		}
	}
	if key.loop != nil {
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			conn.Close()
			return nil, fmt.Errorf("dialled a %T: want a *net.TCPConn", conn)
		}
		taken, err := key.loop.Take(tcp)
		if err != nil {
			return nil, err
		}
		conn = taken
	}
	return t.newConn(conn, s, key), nil
}

// isTimeout reports whether a deadline ended the wait.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
