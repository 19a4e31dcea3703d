package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
)

// A trafficFront is the front for allKinds.
type trafficFront struct{ cert, key string }

func newTrafficFront(t *testing.T) trafficFront {
	t.Helper()
	cert, key := mustCert(t)
	return trafficFront{cert, key}
}

// config is the file; n makes each version another.
func (f trafficFront) config(n int) string {
	return tunnelConfig + fmt.Sprintf(`
[timeouts]
drain = "5s"

[pool.default]
prefix = "100.64.0.0/16"

[site.load]
hosts  = ["default"]
listen = ["tunnel:80", "%[1]s:80", "tunnel:443", "%[1]s:443"]
cert   = %[2]q
key    = %[3]q
redirect_http = false
to     = "%[4]s:8080"
access = ["deny 198.51.100.%[5]d", "allow all"]

[forward.echo]
listen = ["tunnel:7000", "%[1]s:7000"]
to     = "%[4]s:7000"
access = ["deny 198.51.100.%[5]d", "allow all"]

[forward.datagrams]
listen = ["udp/tunnel:7001", "udp/%[1]s:7001"]
to     = "%[4]s:7001"
source = "pool"
access = ["deny 198.51.100.%[5]d", "allow all"]
`, lab.FrontV4, f.cert, f.key, lab.BackendV4, n%200)
}

// startTrafficBackend answers allKinds.
func startTrafficBackend(t *testing.T, w *world) {
	t.Helper()
	startEcho(t, w, lab.BackendV4.String()+":7000")
	startUDPEcho(t, w, lab.BackendV4.String()+":7001")
	var l net.Listener
	err := w.Backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", lab.BackendV4.String()+":8080")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(answerTraffic)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Close(); <-done })
}

// answerTraffic sends a posted page back after 2 ms, and is an echo for
// websockets: to us their frames are bytes.
func answerTraffic(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, rw)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	time.Sleep(2 * time.Millisecond) // the work of a backend
	_, _ = w.Write(body)
}

// startUDPEcho says to each datagram who has sent it, and the datagram.
func startUDPEcho(t *testing.T, w *world, addr string) {
	t.Helper()
	var pc net.PacketConn
	err := w.Backend.Do(func() (err error) {
		pc, err = net.ListenPacket("udp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(from.String()+" "+string(buf[:n])), from)
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
}

// A streamAsker sends lines over a TCP connection and wants them back.
type streamAsker struct {
	client trafficClient
	port   string
	uses   int // of one connection; 0: for streamLife
	open   func(net.Conn, *bufio.Reader) error

	conn  net.Conn
	lines *bufio.Reader
	since time.Time
	used  int
}

// streamLife is how long a kept connection lives: less than the drain of an
// upgrade, which ends what is older.
const streamLife = time.Second

func (s *streamAsker) ask(ctx context.Context) error {
	if s.conn != nil && (s.uses > 0 && s.used >= s.uses || s.uses == 0 && time.Since(s.since) > streamLife) {
		s.close()
	}
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	s.used++
	end, _ := ctx.Deadline()
	if err := s.conn.SetDeadline(end); err != nil {
		return err
	}
	text := fmt.Sprintf("%s %d\n", s.conn.LocalAddr(), s.used)
	if _, err := io.WriteString(s.conn, text); err != nil {
		return err
	}
	back, err := s.lines.ReadString('\n')
	if err == nil && back != text {
		err = fmt.Errorf("got %q back, want %q", back, text)
	}
	return err
}

func (s *streamAsker) connect(ctx context.Context) (err error) {
	if s.conn, err = s.client.dial(ctx, "tcp", s.port); err != nil {
		return err
	}
	s.lines, s.since, s.used = bufio.NewReader(s.conn), time.Now(), 0
	if s.open == nil {
		return nil
	}
	end, _ := ctx.Deadline()
	if err := s.conn.SetDeadline(end); err != nil {
		return err
	}
	return s.open(s.conn, s.lines)
}

func (s *streamAsker) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// openWebsocket makes the handshake.
func openWebsocket(c net.Conn, lines *bufio.Reader) error {
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: mail.example.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(lines, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("websocket: status %d", resp.StatusCode)
	}
	return err
}

// A udpAsker is one socket that asks all the time. The backend has to see one
// client: a session must not change under it.
type udpAsker struct {
	client trafficClient
	port   string
	conn   net.Conn
	seen   string // as whom the backend saw us first
	n      int
}

func (u *udpAsker) ask(ctx context.Context) (err error) {
	if u.conn == nil {
		if u.conn, err = u.client.dial(ctx, "udp", u.port); err != nil {
			return err
		}
		u.seen = ""
	}
	u.n++
	text := fmt.Sprintf("%064d", u.n) // long enough for the amplification guard to let the answer pass
	if _, err := io.WriteString(u.conn, text); err != nil {
		return err
	}
	if err := u.conn.SetReadDeadline(time.Now().Add(udpWithin)); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	n, err := u.conn.Read(buf)
	if err != nil {
		return err
	}
	seen, back, _ := strings.Cut(string(buf[:n]), " ")
	switch {
	case back != text:
		return fmt.Errorf("datagram %q came back as %q", text, buf[:n])
	case u.seen != "" && seen != u.seen:
		return fmt.Errorf("the backend saw us as %s, and now as %s", u.seen, seen)
	}
	u.seen = seen
	return nil
}

// udpWithin is how long a datagram is waited for: nobody sends it again.
const udpWithin = 5 * time.Second

func (u *udpAsker) close() {
	if u.conn != nil {
		u.conn.Close()
		u.conn = nil
	}
}
