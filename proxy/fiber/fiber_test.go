package fiber

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func startLoop(t *testing.T) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	t.Cleanup(l.Close)
	return l
}

// pair is a connection of l's and its other end.
func pair(t *testing.T, l *Loop) (*Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	other, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	other.SetDeadline(time.Now().Add(patience))
	mine, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Take(mine.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	return c, other.(*net.TCPConn)
}

// run runs job in a fiber of l and waits for it.
func run(t *testing.T, l *Loop, job func()) {
	t.Helper()
	done := make(chan struct{})
	l.Post(func() {
		l.Go(func() {
			job()
			close(done)
		})
	})
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the fiber does not end")
	}
}

// Bytes both ways, more than sockets hold, on many connections at once.
func TestEcho(t *testing.T) {
	l := startLoop(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	var wg sync.WaitGroup
	for range 20 {
		c, other := pair(t, l)
		wg.Go(func() {
			run(t, l, func() {
				defer c.Close()
				buf := make([]byte, 10_000)
				for {
					n, err := c.Read(buf)
					if err == io.EOF {
						return
					}
					if err == nil {
						_, err = c.Write(buf[:n])
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		})
		wg.Go(func() {
			other.Write(data)
			other.CloseWrite()
		})
		wg.Go(func() {
			if got, err := io.ReadAll(other); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v; want the %d that were sent", len(got), err, len(data))
			}
		})
	}
	wg.Wait()
}

// The end of a connection that arrives together with its last bytes is told
// once; it must not be lost.
func TestEndWithLastBytes(t *testing.T) {
	l := startLoop(t)
	c, other := pair(t, l)
	other.Write([]byte("last"))
	other.Close()
	run(t, l, func() {
		defer c.Close()
		if got, err := io.ReadAll(c); string(got) != "last" || err != nil {
			t.Errorf("%q %v", got, err)
		}
	})
}

func TestDeadlineWakesReader(t *testing.T) {
	l := startLoop(t)
	c, _ := pair(t, l)
	time.AfterFunc(10*time.Millisecond, func() { c.SetDeadline(time.Unix(1, 0)) })
	run(t, l, func() {
		defer c.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v, want a deadline error", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v, want a deadline error", err)
		}
		c.SetReadDeadline(time.Time{})
	})
}

func TestOnReadable(t *testing.T) {
	l := startLoop(t)
	c, other := pair(t, l)
	got := make(chan string)
	l.Post(func() {
		c.OnReadable(func() {
			buf := make([]byte, 10)
			n, err := c.Read(buf)
			c.Close()
			go func() { got <- string(buf[:n]) }()
			if err != nil {
				t.Error(err)
			}
		})
	})
	other.Write([]byte("hello"))
	if s := <-got; s != "hello" {
		t.Errorf("read %q", s)
	}
}

// While one fiber waits outside, others go on.
func TestLeave(t *testing.T) {
	l := startLoop(t)
	outside, other := make(chan struct{}), make(chan struct{})
	back := make(chan struct{})
	l.Post(func() {
		l.Go(func() {
			l.Leave(func() {
				close(outside)
				<-other
			})
			close(back)
		})
	})
	<-outside
	run(t, l, func() { close(other) })
	<-back
}

func TestDetach(t *testing.T) {
	l := startLoop(t)
	c, other := pair(t, l)
	other.Write([]byte("one two"))
	var tcp *net.TCPConn
	run(t, l, func() {
		buf := make([]byte, 4)
		if n, err := c.Read(buf); string(buf[:n]) != "one " || err != nil {
			t.Errorf("%q %v", buf[:n], err)
		}
		var err error
		if tcp, err = c.Detach(); err != nil {
			t.Error(err)
		}
	})
	other.CloseWrite()
	if got, err := io.ReadAll(tcp); string(got) != "two" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	tcp.Close()
}

// Bytes move from one connection to another without being read; what is left
// behind is whole, and the end of the source is an error.
func TestSplice(t *testing.T) {
	loop := startLoop(t)
	src, from := pair(t, loop)
	dst, to := pair(t, loop)
	const n = 3_000_000
	data := make([]byte, n+5)
	rand.NewChaCha8([32]byte{2}).Read(data)
	go func() {
		from.Write(data)
		from.CloseWrite()
	}()
	type result struct {
		sent int64
		err  error
		rest string
	}
	results := make(chan result, 2)
	loop.Post(func() {
		loop.Go(func() {
			sent, err := dst.SpliceFrom(src, n, func() {})
			rest := make([]byte, 5)
			io.ReadFull(src, rest)
			results <- result{sent, err, string(rest)}
			sent, err = dst.SpliceFrom(src, 1, func() {})
			results <- result{sent, err, ""}
			src.Close()
			dst.Close()
		})
	})
	got, err := io.ReadAll(to)
	if err != nil || !bytes.Equal(got, data[:n]) {
		t.Errorf("%d bytes, %v; want the %d that were sent", len(got), err, n)
	}
	if r := <-results; r.sent != n || r.err != nil || r.rest != string(data[n:]) {
		t.Errorf("%+v", r)
	}
	if r := <-results; r.sent != 0 || r.err != io.ErrUnexpectedEOF {
		t.Errorf("behind the end: %+v", r)
	}
}
