package pipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
)

// refusing returns an address that nobody listens on.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	ln := mustListen(t, "127.0.0.1:0")
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// silent returns an address that never answers: its backlog is full.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	for {
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
}

// startPlan gives a client to e by Forward or Accept, without a backend's end.
func startPlan(t *testing.T, e *Engine, entrance string, p Plan) *relayed {
	t.Helper()
	r := &relayed{results: make(chan Result, 2)}
	if p.Done == nil {
		p.Done = func(res Result) { r.results <- res }
	}
	if entrance == "accept" {
		r.client = dialAccepting(t, e, p)
		return r
	}
	var front *net.TCPConn
	r.client, front = tcpPair(t, "[::1]:0")
	r.stream = e.Forward(front, p)
	return r
}

func eachPlan(t *testing.T, f func(t *testing.T, e *Engine, entrance string)) {
	for _, entrance := range []string{"forward", "accept"} {
		t.Run(entrance, func(t *testing.T) {
			t.Parallel()
			f(t, startEngine(t, Config{Loops: 1}), entrance)
		})
	}
}

func TestZeroPlanRefuses(t *testing.T) {
	eachPlan(t, func(t *testing.T, e *Engine, entrance string) {
		r := startPlan(t, e, entrance, Plan{})
		checkReset(t, r.client)
		if entrance == "forward" {
			r.check(t, Refused, Neither)
		}
	})
}

func TestUnreachableBackend(t *testing.T) {
	eachPlan(t, func(t *testing.T, e *Engine, entrance string) {
		refused, dead := refusing(t), silent(t)
		rows := []struct {
			Plan
			want string
		}{
			{Plan{Backend: refused}, fmt.Sprintf("connect to %s: connect: connection refused after 0s", refused)},
			{Plan{Backend: dead, Connect: 300 * time.Millisecond}, fmt.Sprintf("connect to %s: no answer: i/o timeout after ", dead)},
			{Plan{Backend: refused, Source: netip.MustParseAddrPort("192.0.2.7:0")}, fmt.Sprintf("connect to %s from 192.0.2.7:0: bind: cannot assign requested address", refused)},
		}
		for _, row := range rows {
			r := startPlan(t, e, entrance, row.Plan)
			got := r.check(t, Unreachable, Backend)
			if !strings.HasPrefix(strings.Replace(got.Err.Error(), "after 1ms", "after 0s", 1), row.want) {
				t.Errorf("error %q, want %q", got.Err, row.want)
			}
			checkReset(t, r.client)
		}
	})
}

// While nothing was sent, another backend gets everything, and its own head.
func TestNextBackend(t *testing.T) {
	eachPlan(t, func(t *testing.T, e *Engine, entrance string) {
		ln := mustListen(t, "127.0.0.1:0")
		results := make(chan Result, 1)
		last := Plan{Backend: ln.Addr().(*net.TCPAddr).AddrPort(), Options: Options{
			Head: []byte("to the last:"),
			Done: func(r Result) { results <- r },
		}}
		var mu sync.Mutex
		var tried []string
		next := func(p Plan) func(error) Plan {
			return func(err error) Plan {
				mu.Lock()
				defer mu.Unlock()
				tried = append(tried, err.Error())
				return p
			}
		}
		second := Plan{Backend: silent(t), Connect: 200 * time.Millisecond, Failed: next(last)}
		first := Plan{Backend: refusing(t), Failed: next(second), Options: Options{Head: []byte("to the first:")}}
		r := startPlan(t, e, entrance, first)
		mustWrite(t, r.client, "hello")
		backend, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		mustRead(t, backend, "to the last:hello")
		mu.Lock()
		defer mu.Unlock()
		if len(tried) != 2 {
			t.Errorf("tried %q before", tried)
		}
		r.client.Close()
		backend.Close()
		if got := <-results; got.Reason != EOF {
			t.Errorf("ended by %v", got.Reason)
		}
	})
}

// A client that leaves while its backend does not answer is not waited for.
func TestClientResetsWhileConnecting(t *testing.T) {
	eachPlan(t, func(t *testing.T, e *Engine, entrance string) {
		r := startPlan(t, e, entrance, Plan{Backend: silent(t), Connect: time.Hour})
		r.client.SetLinger(0)
		r.client.Close()
		r.check(t, Reset, Client)
	})
}

func TestSourceAddress(t *testing.T) {
	eachPlan(t, func(t *testing.T, e *Engine, entrance string) {
		ln := mustListen(t, "127.0.0.1:0")
		startPlan(t, e, entrance, Plan{
			Backend: ln.Addr().(*net.TCPAddr).AddrPort(),
			Source:  netip.MustParseAddrPort("127.0.9.9:0"),
		})
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.0.9.9" {
			t.Errorf("the backend sees %s", got)
		}
	})
}

func TestAcceptTellsAddresses(t *testing.T) {
	e := startEngine(t, Config{Loops: 2})
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"} {
		type pair struct{ client, local netip.AddrPort }
		seen := make(chan pair)
		ln := mustListen(t, address)
		port := ln.Addr().(*net.TCPAddr).Port
		a, err := e.Accept(ln, func(c *Conn) {
			seen <- pair{c.Client(), c.Local()}
		})
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(strings.Replace(address, "0.0.0.0", "127.0.0.1", 1))
		c, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		got := <-seen
		if got.client != c.LocalAddr().(*net.TCPAddr).AddrPort() || got.local != c.RemoteAddr().(*net.TCPAddr).AddrPort() {
			t.Errorf("%s: told %v, the client has %v and %v", address, got, c.LocalAddr(), c.RemoteAddr())
		}
		c.Close()
		a.Close()
		a.Close()
		if c, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port))); err == nil {
			c.Close()
			t.Errorf("%s: connected after Close", address)
		}
	}
}

// What must be read first leaves the engine, and may come back.
func TestTake(t *testing.T) {
	e := startEngine(t, Config{Loops: 1})
	backend := mustListen(t, "127.0.0.1:0")
	ln := mustListen(t, "[::1]:0")
	addr := ln.Addr().String()
	results := make(chan Result, 1)
	taken := make(chan error, 1)
	a, err := e.Accept(ln, func(c *Conn) {
		conn, err := c.Take()
		taken <- err
		if _, err := c.Take(); err == nil || c.Forward(Plan{}) != nil {
			t.Error("taken twice")
		}
		go func() {
			head := make([]byte, 5)
			if _, err := io.ReadFull(conn, head); err != nil {
				t.Error(err)
			}
			e.Forward(conn, Plan{
				Backend: backend.Addr().(*net.TCPAddr).AddrPort(),
				Options: Options{Head: head, Done: func(r Result) { results <- r }},
			})
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, c, "hello, world")
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	b, err := backend.Accept()
	if err != nil {
		t.Fatal(err)
	}
	mustRead(t, b, "hello, world")
	c.Close()
	b.Close()
	if r := <-results; r.Reason != EOF {
		t.Errorf("ended by %v (%v)", r.Reason, r.Err)
	}
}

// A paused listener lets clients wait, and serves them after.
func TestPause(t *testing.T) {
	e := startEngine(t, Config{Loops: 2})
	ln := mustListen(t, "[::1]:0")
	addr := ln.Addr().String()
	handled := make(chan struct{}, 10)
	a, err := e.Accept(ln, func(c *Conn) { handled <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.Pause()
	a.Pause()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := startStream(t, e, "relay", Options{}) // the loops are awake
	mustWrite(t, r.client, "x")
	mustRead(t, r.backend, "x")
	select {
	case <-handled:
		t.Fatal("accepted while paused")
	default:
	}
	a.Resume()
	a.Resume()
	<-handled
}

// An engine that is closed leaves no socket that still takes clients.
func TestCloseEndsListeners(t *testing.T) {
	e := startEngine(t, Config{Loops: 2})
	a, err := e.Accept(mustListen(t, "[::1]:0"), func(*Conn) {})
	if err != nil {
		t.Fatal(err)
	}
	a.Pause()
	e.Close()
	if c, err := net.Dial("tcp", a.Addr().String()); err == nil {
		c.Close()
		t.Error("connected after the engine's Close")
	}
	if _, err := e.Accept(mustListen(t, "[::1]:0"), func(*Conn) {}); !errors.Is(err, errClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

// A listener's duplicate goes on where it was left.
func TestListenerFile(t *testing.T) {
	e := startEngine(t, Config{Loops: 1})
	a, err := e.Accept(mustListen(t, "127.0.0.1:0"), func(c *Conn) {})
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.Close()
	if _, err := a.File(); err == nil || !strings.Contains(err.Error(), "use of closed network connection") {
		t.Errorf("File after Close: %v", err)
	}
	ln, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestDrain(t *testing.T) {
	e := startEngine(t, Config{Loops: 2})
	r := startStream(t, e, "relay", Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := e.Drain(ctx); err != context.DeadlineExceeded {
		t.Fatalf("Drain with a stream: %v", err)
	}
	go func() {
		r.client.Close()
		r.backend.Close()
	}()
	ctx, cancel = context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

// starve lets this process open n more descriptors at most, until the test ends.
func starve(t *testing.T, n int) (feed func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	feed = sync.OnceFunc(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) })
	t.Cleanup(feed)
	next, err := unix.Dup(0) // the lowest free number
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	low := unix.Rlimit{Cur: uint64(next + n), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	return feed
}

// Without pipes, bulk goes on by read and write.
func TestNoPipesLeft(t *testing.T) {
	e := startEngine(t, Config{Loops: 1})
	r := startStream(t, e, "relay", Options{})
	starve(t, 0)
	if err := exchange(r.client, r.backend, 4<<20); err != nil {
		t.Fatal(err)
	}
	if got := <-r.results; got.Reason != EOF {
		t.Errorf("ended by %v (%v)", got.Reason, got.Err)
	}
}

// Out of descriptors, streams go on, clients wait, the log says so once.
func TestOutOfDescriptors(t *testing.T) {
	var log lockedBuffer
	e := startEngine(t, Config{Loops: 2, Log: slog.New(slog.NewTextHandler(&log, nil))})
	backend := mustListen(t, "127.0.0.1:0")
	ln := mustListen(t, "[::1]:0")
	addr := ln.Addr().(*net.TCPAddr)
	a, err := e.Accept(ln, func(c *Conn) {
		c.Forward(Plan{Backend: backend.Addr().(*net.TCPAddr).AddrPort()})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	old := startStream(t, e, "relay", Options{})
	for range 2 { // soon again is the same lack, told already
		feed := starve(t, 1) // the client below; nothing for the accept
		late, err := net.DialTCP("tcp", nil, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		late.SetDeadline(time.Now().Add(patience))
		for deadline := time.Now().Add(patience); log.String() == ""; {
			if time.Now().After(deadline) {
				t.Fatal("nothing logged")
			}
			mustWrite(t, old.client, "still here")
			mustRead(t, old.backend, "still here")
		}
		ticker := time.NewTicker(500 * time.Millisecond) // rests more than once
		<-ticker.C
		ticker.Stop()
		feed()
		mustWrite(t, late, "at last")
		c, err := backend.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		mustRead(t, c, "at last")
	}
	if n := strings.Count(log.String(), "cannot accept"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// A lockedBuffer is a log's text that a test may read meanwhile.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Nagle's rule may hold back nothing: who writes to a backend more than once
// does so with TCP_NODELAY.
func TestNoDelayFromTheSecondWrite(t *testing.T) {
	ln := mustListen(t, "127.0.0.1:0")
	fd, err := dialSocket(&Plan{Backend: ln.Addr().(*net.TCPAddr).AddrPort()}, descriptors.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(fd)
	e := end{fd: fd, flags: mute | nagled}
	for write, want := range []int{0, 1, 1} {
		e.speaks()
		if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || got != want {
			t.Errorf("write %d: TCP_NODELAY is %d, %v; want %d", write+1, got, err, want)
		}
	}
}

// The engine asks for it in time.
func TestSecondWriteToABackend(t *testing.T) {
	for _, row := range []struct {
		writes string
		nagled bool
	}{{"a", true}, {"ab", false}} {
		e := startEngine(t, Config{Loops: 1})
		r := startStream(t, e, "forward", Options{})
		for _, b := range row.writes {
			mustWrite(t, r.client, string(b))
			mustRead(t, r.backend, string(b))
		}
		e.Close() // nobody else looks at the stream any more
		if got := r.stream.ends[1].is(nagled); got != row.nagled {
			t.Errorf("after %d writes TCP_NODELAY is still to be set: %v, want %v", len(row.writes), got, row.nagled)
		}
	}
}
