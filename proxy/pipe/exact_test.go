package pipe

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A noise is an endless stream of bytes that anyone with its seed can repeat.
type noise struct{ *rand.ChaCha8 }

func newNoise(seed byte) noise {
	return noise{rand.NewChaCha8([32]byte{seed})}
}

// randomSize returns a size for the next write: mostly small, now and then large.
func randomSize(r *rand.Rand) int {
	return 1 + r.IntN(1<<(1+r.IntN(18)))
}

// pour writes n bytes of noise in random chunks.
func pour(w io.Writer, seed byte, n int) error {
	src := newNoise(seed)
	sizes := rand.New(rand.NewPCG(uint64(seed), 1))
	buf := make([]byte, min(1<<18, n))
	for n > 0 {
		p := buf[:min(randomSize(sizes), n)]
		src.Read(p)
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("%d bytes before the end: %w", n, err)
		}
		n -= len(p)
	}
	return nil
}

// drink reads n bytes of noise and compares them.
func drink(r io.Reader, seed byte, n int) error {
	want := newNoise(seed)
	sizes := rand.New(rand.NewPCG(uint64(seed), 2))
	got, expected := make([]byte, min(1<<18, n)), make([]byte, min(1<<18, n))
	for at := 0; at < n; {
		m, err := r.Read(got[:min(randomSize(sizes), n-at)])
		want.Read(expected[:m])
		if !bytes.Equal(got[:m], expected[:m]) {
			return fmt.Errorf("other bytes than sent, between %d and %d", at, at+m)
		}
		at += m
		if err != nil && at < n {
			return fmt.Errorf("ended after %d of %d bytes: %w", at, n, err)
		}
	}
	return nil
}

// exchange sends n bytes each way at once, ends both directions, and compares.
func exchange(client, backend *net.TCPConn, n int) error {
	var wait sync.WaitGroup
	errs := make(chan error, 4)
	begin := func(f func() error) { wait.Go(func() { errs <- f() }) }
	for seed, way := range [][2]*net.TCPConn{{client, backend}, {backend, client}} {
		begin(func() error {
			defer way[0].CloseWrite()
			return pour(way[0], byte(seed), n)
		})
		begin(func() error {
			if err := drink(way[1], byte(seed), n); err != nil {
				return err
			}
			if m, err := way[1].Read(make([]byte, 1)); m != 0 || err != io.EOF {
				return fmt.Errorf("after the last byte: %d more, %v", m, err)
			}
			return nil
		})
	}
	wait.Wait()
	for range 4 {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func TestEveryByteOnce(t *testing.T) {
	size := 8 << 20
	if long() {
		size = 1 << 30
	}
	each(t, func(t *testing.T, e *Engine, entrance string) {
		r := startStream(t, e, entrance, Options{})
		if long() {
			r.client.SetDeadline(time.Time{})
			r.backend.SetDeadline(time.Time{})
		}
		if err := exchange(r.client, r.backend, size); err != nil {
			t.Fatal(err)
		}
		got := <-r.results
		if got.Reason != EOF || got.Up != int64(size) || got.Down != int64(size) {
			t.Errorf("ended by %v after %d up and %d down, want eof after %d both", got.Reason, got.Up, got.Down, size)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	n := 1000
	if long() {
		n = 10_000
	}
	n = min(n, int(descriptorLimit(t)-200)/6) // both peers, both ends, and a listener each
	t.Logf("%d streams", n)
	for _, entrance := range []string{"relay", "accept"} {
		t.Run(entrance, func(t *testing.T) {
			e := startEngine(t, Config{Loops: 2})
			streams := make([]*relayed, n)
			for i := range streams {
				streams[i] = startStream(t, e, entrance, Options{})
			}
			if got := e.Active(); got != n {
				t.Fatalf("%d streams active, want %d", got, n)
			}
			errs := make(chan error, n)
			gate := make(chan struct{}, 64)
			for _, r := range streams {
				go func() {
					gate <- struct{}{}
					// The deadlines of the start were for the start: thousands may
					// have had their turn meanwhile.
					r.client.SetDeadline(time.Now().Add(patience))
					r.backend.SetDeadline(time.Now().Add(patience))
					errs <- exchange(r.client, r.backend, 40_000)
					<-gate
				}()
			}
			for range n {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			for _, r := range streams {
				if got := <-r.results; got.Reason != EOF {
					t.Errorf("ended by %v of %v (%v)", got.Reason, got.Side, got.Err)
				}
			}
		})
	}
}

// descriptorLimit raises the limit of this process as far as it may, and returns
// it.
func descriptorLimit(t testing.TB) uint64 {
	t.Helper()
	const wanted = 50_000
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	raised := unix.Rlimit{Cur: max(wanted, lim.Cur), Max: max(wanted, lim.Max)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return raised.Cur
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	return lim.Cur
}

// A receiver that takes nothing stops its sender; little is kept for it, and all
// arrives once it reads.
func TestSlowReader(t *testing.T) {
	for _, pipes := range []int{0, -1} {
		e := startEngine(t, Config{Loops: 1, Pipes: pipes})
		for _, entrance := range []string{"relay", "goroutines", "accept"} {
			t.Run(fmt.Sprint(entrance, "/pipes=", pipes), func(t *testing.T) {
				r := startStream(t, e, entrance, Options{})
				sent := fill(t, r.client)
				if sent > 64<<20 {
					t.Errorf("%d bytes went to a receiver that reads nothing", sent)
				}
				mustWrite(t, r.backend, "the other direction goes on")
				mustRead(t, r.client, "the other direction goes on")
				r.client.CloseWrite()
				if n, err := io.Copy(io.Discard, r.backend); n != sent || err != nil {
					t.Errorf("%d bytes arrived (%v), %d were sent", n, err, sent)
				}
				r.backend.Close()
				r.check(t, EOF, Client)
			})
		}
	}
}

// fill writes until nothing moves for a second, and says how much that was.
func fill(t *testing.T, c *net.TCPConn) int64 {
	t.Helper()
	defer c.SetWriteDeadline(time.Now().Add(patience))
	var sent int64
	p := make([]byte, 64<<10)
	for {
		c.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := c.Write(p)
		sent += int64(n)
		if err != nil {
			return sent
		}
	}
}

// A peer that goes away in the middle resets the other, which was sending.
func TestEarlyClose(t *testing.T) {
	each(t, func(t *testing.T, e *Engine, entrance string) {
		for _, who := range []Side{Client, Backend} {
			r := startStream(t, e, entrance, Options{})
			near, far := r.client, r.backend
			if who == Backend {
				near, far = far, near
			}
			done := make(chan error, 1)
			go func() { done <- pour(far, 7, 1<<30) }()
			if err := drink(near, 7, 1<<20); err != nil {
				t.Fatal(err)
			}
			near.Close() // with bytes unread: the kernel resets
			if err := <-done; err == nil {
				t.Error("1 GiB was sent to a peer that is gone")
			}
			r.check(t, Reset, who)
		}
	})
}

// The urgent byte is relayed in its place, though a read ends before it and
// splice refuses to pass it.
func TestUrgentData(t *testing.T) {
	for _, before := range []int{0, 10, 3 << 20} {
		for _, entrance := range []string{"relay", "forward", "accept"} {
			t.Run(fmt.Sprint(entrance, "/", before), func(t *testing.T) {
				r := startStream(t, startEngine(t, Config{Loops: 1}), entrance, Options{})
				done := make(chan error, 1)
				go func() { done <- drink(r.backend, 3, before) }()
				if err := pour(r.client, 3, before); err != nil {
					t.Fatal(err)
				}
				sendUrgent(t, r.client, "abort!") // the mark is at "!"
				mustWrite(t, r.client, "ABOR\r\n")
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				mustRead(t, r.backend, "abort!ABOR\r\n")
				if err := exchange(r.client, r.backend, 1<<20); err != nil {
					t.Error(err)
				}
				if got := <-r.results; got.Reason != EOF {
					t.Errorf("ended by %v (%v)", got.Reason, got.Err)
				}
			})
		}
	}
}

func sendUrgent(t *testing.T, c *net.TCPConn, s string) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), []byte(s), unix.MSG_OOB, nil)
		return sendErr != unix.EAGAIN
	})
	if err != nil || sendErr != nil {
		t.Fatal(err, sendErr)
	}
}
