package http1_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"genkan/proxy/fiber"
	"genkan/proxy/http1"
	"genkan/proxy/internal/webtest"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(&everyWay{m: m}) }

// everyWay runs all tests twice: with a goroutine for each connection, and
// with connections on an event loop.
type everyWay struct{ m *testing.M }

// onLoop is true in the second run.
var onLoop bool

func (e *everyWay) Run() int {
	code := e.m.Run()
	onLoop = true
	return max(code, e.m.Run())
}

// A front is our proxy between a listener and one backend.
type front struct {
	*webtest.Front
	server *http1.Server
}

func startFront(t testing.TB, backend string, edit func(*http1.Config, *http1.TransportConfig)) *front {
	t.Helper()
	s := sweep.New()
	sc := http1.Config{Sweeper: s, Relay: relay}
	f := &front{}
	serve := func(c net.Conn, from message.Source, h message.Handler) { f.server.NewConn(c, nil, from, h).Serve() }
	if onLoop {
		loop := startLoop(t)
		serve = func(c net.Conn, from message.Source, h message.Handler) {
			fc, err := loop.Take(c.(*net.TCPConn))
			if err != nil {
				t.Error(err)
				return
			}
			ended := make(chan struct{})
			f.server.NewConn(fc, nil, from, h).Start(func() { close(ended) })
			<-ended
		}
	}
	f.Front = webtest.StartFront(t, backend, s, serve,
		func() { f.server.Cut() },
		func(tc *http1.TransportConfig) {
			if edit != nil {
				edit(&sc, tc)
			}
			f.server = http1.NewServer(sc)
		})
	return f
}

func startLoop(t testing.TB) *fiber.Loop {
	t.Helper()
	loop, err := fiber.New()
	if err != nil {
		t.Fatal(err)
	}
	go loop.Run()
	t.Cleanup(loop.Close)
	return loop
}

func relay(client net.Conn, early []byte, backend net.Conn, late []byte) {
	var wg sync.WaitGroup
	pass := func(dst net.Conn, first []byte, src net.Conn) {
		dst.Write(first)
		io.Copy(dst, src)
		dst.Close()
		src.Close()
	}
	wg.Go(func() { pass(backend, early, client) })
	wg.Go(func() { pass(client, late, backend) })
	wg.Wait()
}

func mustDial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// readFor collects what the connection gives until it closes or the time is
// over, and reports whether it closed.
func readFor(c net.Conn, d time.Duration) (got []byte, closed bool) {
	c.SetReadDeadline(time.Now().Add(d))
	got, err := io.ReadAll(c)
	return got, err == nil || !errors.Is(err, errTimeout)
}
