package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
)

// forwardConfig has a forward whose backend is there and one whose is not.
var forwardConfig = tunnelConfig + fmt.Sprintf(`
[forward.sum]
listen = ["tunnel:7000", "%[1]s:7000"]
to     = "%[2]s:7000"

[forward.gone]
listen = ["tunnel:7001", "%[1]s:7001"]
to     = "%[2]s:7001"

[site.dead]
hosts  = ["default"]
listen = ["tunnel:80", "%[1]s:80"]
to     = "%[2]s:7001"
`, lab.FrontV4, lab.BackendV4)

// dial connects as a client to a port of the front.
func (w *world) dial(t *testing.T, c, to string, port int) *net.TCPConn {
	t.Helper()
	conn, err := w.tryDial(t, c, to, port)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// tryDial is dial for a connection that may be refused.
func (w *world) tryDial(t *testing.T, c, to string, port int) (*net.TCPConn, error) {
	t.Helper()
	var conn net.Conn
	err := w.client(c).Do(func() (err error) {
		d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c), 0))}
		conn, err = d.Dial("tcp", to+":"+strconv.Itoa(port))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s to %s port %d: %w", c, to, port, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn), conn.SetDeadline(time.Now().Add(patience))
}

// startCounter is a server that answers only after the client's end: the
// number of bytes it got. Without half-close nobody would ever see it.
func startCounter(t *testing.T, w *world, addr string) {
	t.Helper()
	var l net.Listener
	err := w.Backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			n, _ := io.Copy(io.Discard, c)
			fmt.Fprintf(c, "%d bytes", n)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

// The end of one direction is passed on, and the other goes on.
func TestForwardHalfClose(t *testing.T) {
	w := mustWorld(t)
	startCounter(t, w, lab.BackendV4.String()+":7000")
	w.front(t, forwardConfig)
	for _, c := range clients[:2] {
		t.Run(c.name, func(t *testing.T) {
			const size = 3 << 20
			conn := w.dial(t, c.addr, c.to, 7000)
			if _, err := io.Copy(conn, io.LimitReader(zeros{}, size)); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if want := fmt.Sprintf("%d bytes", size); err != nil || string(got) != want {
				t.Errorf("answer after half-close: %q, %v, want %q", got, err, want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A backend that refuses is told at once: RST to a forward's client, 502 to a
// site's, and a line with the cause in the log.
func TestBackendRefuses(t *testing.T) {
	w := mustWorld(t)
	p := w.front(t, forwardConfig)
	for _, c := range clients[:2] {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			conn, err := w.tryDial(t, c.addr, c.to, 7001)
			if err == nil { // else the reset was there before connect had returned
				_, err = conn.Read(make([]byte, 1))
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("forward: %v, want connection reset", err)
			}
			status, _ := curl(t, w.client(c.addr), "http://"+c.to+"/")
			if status != 502 {
				t.Errorf("site: status %d, want 502", status)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("refusals took %v", took)
			}
		})
	}
	for _, name := range []string{"gone", "dead"} {
		mustLog(t, p, name, lab.BackendV4.String()+":7001", "refused")
	}
}

// mustLog waits for a line with all words: what a program has written is here a moment later.
func mustLog(t *testing.T, p interface{ Output() string }, words ...string) {
	t.Helper()
	waitUntil(t, patience, "a log line", func() error {
		if out := p.Output(); !logHas(out, words...) {
			return fmt.Errorf("none with %q in:\n%s", words, out)
		}
		return nil
	})
}

// logHas reports whether one line has all words.
func logHas(log string, words ...string) bool {
	for line := range strings.Lines(log) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return true
		}
	}
	return false
}
