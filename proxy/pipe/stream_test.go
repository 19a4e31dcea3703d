package pipe

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dialAccepting connects to a listener of e's own.
func dialAccepting(t testing.TB, e *Engine, p Plan) *net.TCPConn {
	t.Helper()
	ln := mustListen(t, "[::1]:0")
	addr := ln.Addr().(*net.TCPAddr)
	dialled := make(chan struct{}) // else a refused client fails in Dial already
	a, err := e.Accept(ln, func(c *Conn) {
		<-dialled
		c.Forward(p)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	c, err := net.DialTCP("tcp", nil, addr)
	close(dialled)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// each runs f for every entrance.
func each(t *testing.T, f func(t *testing.T, e *Engine, entrance string)) {
	for _, entrance := range entrances {
		t.Run(entrance, func(t *testing.T) {
			t.Parallel()
			f(t, startEngine(t, Config{Loops: 2}), entrance)
		})
	}
}

func TestHeadComesFirst(t *testing.T) {
	each(t, func(t *testing.T, e *Engine, entrance string) {
		r := startStream(t, e, entrance, Options{Head: []byte("PROXY TCP6 ")})
		mustRead(t, r.backend, "PROXY TCP6 ") // though the client says nothing
		mustWrite(t, r.client, "hello")
		mustRead(t, r.backend, "hello")
		mustWrite(t, r.backend, "welcome")
		mustRead(t, r.client, "welcome")
		r.client.Close()
		if b, err := io.ReadAll(r.backend); len(b) > 0 || err != nil {
			t.Fatalf("read %q, %v", b, err)
		}
		r.backend.Close()
		got := r.check(t, EOF, Client)
		if got.Up != 16 || got.Down != 7 {
			t.Errorf("moved %d up and %d down, want 16 and 7", got.Up, got.Down)
		}
	})
}

func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, e *Engine, entrance string) {
		for _, first := range []Side{Client, Backend} {
			r := startStream(t, e, entrance, Options{})
			near, far := r.client, r.backend
			if first == Backend {
				near, far = far, near
			}
			mustWrite(t, near, "question")
			near.CloseWrite()
			if b, err := io.ReadAll(far); string(b) != "question" || err != nil {
				t.Fatalf("read %q, %v", b, err)
			}
			mustWrite(t, far, "answer")
			mustRead(t, near, "answer")
			mustWrite(t, far, " and more")
			far.Close()
			if b, err := io.ReadAll(near); string(b) != " and more" || err != nil {
				t.Fatalf("read %q, %v", b, err)
			}
			r.check(t, EOF, first)
		}
	})
}

// A stream that is cut must not look whole to the other side.
func TestResetIsPassedOn(t *testing.T) {
	each(t, func(t *testing.T, e *Engine, entrance string) {
		for _, who := range []Side{Client, Backend} {
			r := startStream(t, e, entrance, Options{})
			near, far := r.client, r.backend
			if who == Backend {
				near, far = far, near
			}
			mustWrite(t, near, "half of it")
			mustRead(t, far, "half of it")
			near.SetLinger(0)
			near.Close()
			checkReset(t, far)
			r.check(t, Reset, who)
		}
	})
}

// Also after the other side has ended: its EOF was no consent.
func TestResetAfterHalfClose(t *testing.T) {
	each(t, func(t *testing.T, e *Engine, entrance string) {
		r := startStream(t, e, entrance, Options{})
		r.client.CloseWrite()
		if b, err := io.ReadAll(r.backend); len(b) > 0 || err != nil {
			t.Fatalf("read %q, %v", b, err)
		}
		mustWrite(t, r.backend, "half")
		mustRead(t, r.client, "half")
		r.backend.SetLinger(0)
		r.backend.Close()
		checkReset(t, r.client)
		r.check(t, Reset, Backend)
	})
}

func checkReset(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("read %d bytes and %v, want a reset", n, err)
	}
}

func TestLimits(t *testing.T) {
	const span = 400 * time.Millisecond // a byte has to get through in it on a busy machine, too
	rows := []struct {
		name string
		Options
		want Reason
	}{
		{"idle", Options{Idle: span}, Idle},
		{"lifetime", Options{Lifetime: span, Idle: -1}, Lifetime},
		{"shorter", Options{Lifetime: time.Hour, Idle: span}, Idle},
	}
	each(t, func(t *testing.T, e *Engine, entrance string) {
		for _, row := range rows {
			begin := time.Now()
			r := startStream(t, e, entrance, row.Options)
			mustWrite(t, r.client, "x")
			mustRead(t, r.backend, "x")
			r.check(t, row.want, Neither)
			if took := time.Since(begin); took < span {
				t.Errorf("%s: ended after %v", row.name, took)
			}
			checkReset(t, r.client)
			checkReset(t, r.backend)
		}
	})
}

// A stream that moves bytes now and then is not idle, in whichever direction.
func TestBusyIsNotIdle(t *testing.T) {
	each(t, func(t *testing.T, e *Engine, entrance string) {
		r := startStream(t, e, entrance, Options{Idle: time.Second})
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for range 6 {
			<-ticker.C
			mustWrite(t, r.backend, "x")
			mustRead(t, r.client, "x")
		}
		r.check(t, Idle, Neither)
	})
}

func TestCut(t *testing.T) {
	for _, entrance := range entrances[:3] {
		r := startStream(t, startEngine(t, Config{Loops: 1}), entrance, Options{})
		mustWrite(t, r.client, "x")
		mustRead(t, r.backend, "x")
		r.stream.Cut()
		r.check(t, Cut, Neither)
		checkReset(t, r.client)
		checkReset(t, r.backend)
		r.stream.Cut() // harmless
	}
}

func TestClose(t *testing.T) {
	each(t, func(t *testing.T, e *Engine, entrance string) {
		r := startStream(t, e, entrance, Options{})
		mustWrite(t, r.client, "x")
		mustRead(t, r.backend, "x")
		e.Close()
		r.check(t, Shutdown, Neither)
		checkReset(t, r.client)
		if n := e.Active(); n != 0 {
			t.Errorf("%d streams active after Close", n)
		}
		if entrance == "accept" {
			return
		}
		late := &relayed{results: make(chan Result, 1)}
		client, front := tcpPair(t, "[::1]:0")
		_, back := tcpPair(t, "127.0.0.1:0")
		e.Relay(front, back, Options{Done: func(r Result) { late.results <- r }})
		late.check(t, Shutdown, Neither)
		checkReset(t, client)
	})
}
