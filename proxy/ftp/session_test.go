package ftp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.MustParseAddr("::1")
)

// A stage is a session between a client and a server that a test plays.
type stage struct {
	t              *testing.T
	client, server *side
	hub            *Hub
	log            bytes.Buffer
	ended          chan error
	relayed        chan struct{}
	stop           func() // ends the session, and waits
}

// A side is what a test plays: it says and expects lines.
type side struct {
	t    *testing.T
	name string
	conn *net.TCPConn
	over net.Conn // conn, or TLS over it
	r    *bufio.Reader
}

func (s *side) say(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.over, line+"\r\n"); err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
}

// sayRaw sends the bytes of a Go string, in quotes, and no end of a line.
func (s *side) sayRaw(quoted string) {
	s.t.Helper()
	text, err := strconv.Unquote(quoted)
	if err == nil {
		_, err = io.WriteString(s.over, text)
	}
	if err != nil {
		s.t.Fatalf("%s: %s: %v", s.name, quoted, err)
	}
}

func (s *side) line() string {
	s.t.Helper()
	line, err := s.r.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%s: %q, %v", s.name, line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (s *side) hear(want string) {
	s.t.Helper()
	prefix, open := strings.CutSuffix(want, "*")
	if got := s.line(); got != want && !(open && strings.HasPrefix(got, prefix)) {
		s.t.Fatalf("%s heard %q, want %q", s.name, got, want)
	}
}

// pair is a TCP connection over loopback.
func pair(t *testing.T, at netip.Addr) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if far, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.TCPConn{near, far} {
		t.Cleanup(func() { c.Close() })
	}
	return near, far
}

// mustInline has urgent data stay where it is in the stream.
func mustInline(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newStage starts a session of a client at from (a loopback address).
func newStage(t *testing.T, from netip.Addr) *stage {
	t.Helper()
	return newStageOf(t, from, Config{})
}

// newStageOf is newStage with what cfg says of TLS.
func newStageOf(t *testing.T, from netip.Addr, cfg Config) *stage {
	t.Helper()
	st := newSilentStage(t, from, cfg)
	st.server.say("220 ready")
	st.client.hear("220 ready")
	return st
}

// newSilentStage is newStageOf before the server's greeting.
func newSilentStage(t *testing.T, from netip.Addr, cfg Config) *stage {
	t.Helper()
	st := &stage{t: t, hub: NewHub(Ports{40000, 40009}), ended: make(chan error, 1), relayed: make(chan struct{}, 8)}
	client, clientFar := pair(t, from)
	serverFar, server := pair(t, loop4)
	deadline := time.Now().Add(patience)
	client.SetDeadline(deadline)
	server.SetDeadline(deadline)
	mustInline(t, server)
	mustInline(t, clientFar) // as listeners have it
	st.client = &side{t, "client", client, client, bufio.NewReader(client)}
	st.server = &side{t, "server", server, server, bufio.NewReader(server)}
	cfg.Client, cfg.Server = clientFar, serverFar
	cfg.ClientAddr, cfg.Door, cfg.ServerAddr, cfg.Source = from, from, loop4, loop4
	cfg.Hub = st.hub
	cfg.Dial = func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", to.String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
	cfg.Relay = func(c net.Conn, s *net.TCPConn, done func()) {
		go func() {
			io.Copy(c, s)
			c.Close()
			s.Close()
			done()
			st.relayed <- struct{}{}
		}()
	}
	cfg.Log = slog.New(slog.NewTextHandler(&st.log, nil))
	go func() {
		_, err := Serve(context.Background(), cfg)
		st.ended <- err
	}()
	st.stop = sync.OnceFunc(func() {
		client.Close()
		server.Close()
		<-st.ended
	})
	t.Cleanup(st.stop)
	return st
}

// port reads the port out of a 229 or 227.
func portOf(t *testing.T, line string) uint16 {
	t.Helper()
	code, _ := strconv.Atoi(line[:3])
	p, ok := reply{code: code, raw: line}.passivePort()
	if !ok {
		t.Fatalf("no port in %q", line)
	}
	return p
}

// play holds a dialogue.
func (st *stage) play(talk string) {
	st.t.Helper()
	for line := range strings.Lines(talk) {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case line == "":
		case line == "TLS":
			st.client.startTLS(clientTLS())
		case strings.HasPrefix(line, "C> "):
			st.client.say(line[3:])
		case strings.HasPrefix(line, "C| "):
			st.client.sayRaw(line[3:])
		case strings.HasPrefix(line, "S| "):
			st.server.sayRaw(line[3:])
		case strings.HasPrefix(line, ">S "):
			st.server.hear(line[3:])
		case strings.HasPrefix(line, "S< "):
			st.server.say(line[3:])
		case strings.HasPrefix(line, "<C "):
			st.client.hear(line[3:])
		default:
			st.t.Fatalf("line %q", line)
		}
	}
}

// After AUTH TLS nothing is read any more, and ports lead where they lead.
func TestBlindAfterAuth(t *testing.T) {
	st := newStage(t, loop6)
	st.client.say("AUTH TLS")
	st.server.hear("AUTH TLS")
	st.server.say("234 Proceed with negotiation.")
	st.client.hear("234 Proceed with negotiation.")
	st.client.say("EPRT |2|2001:db8::1|25|") // would be TLS
	st.server.hear("EPRT |2|2001:db8::1|25|")
	st.server.say("229 (|||50003|)")
	st.client.hear("229 (|||50003|)")
	if other, _ := pair(t, loop6); st.hub.Arrive(other, netip.MustParseAddr("2001:db8:666::1"), 40003) {
		t.Error("a stranger's connection was taken")
	}
}

// Lines and replies without an end, or nonsense, end the session.
func TestGarbage(t *testing.T) {
	for _, row := range []struct{ name, client, server string }{
		{"long-line", strings.Repeat("x", 2*maxLine), ""},
		{"no-reply", "NOOP", "hello?"},
		{"endless-reply", "NOOP", strings.Repeat("211-x\r\n", maxLines+1)},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newStage(t, loop6)
			io.WriteString(st.client.conn, row.client+"\r\n")
			io.WriteString(st.server.conn, row.server+"\r\n")
			select {
			case err := <-st.ended:
				if err == nil {
					t.Error("no error")
				}
				st.ended <- err
			case <-time.After(patience):
				t.Error("the session goes on")
			}
		})
	}
}

func FuzzReply(f *testing.F) {
	f.Add("229 Entering Extended Passive Mode (|||50003|)\r\n")
	f.Add("227 Entering Passive Mode (10,77,0,2,195,84).\r\n")
	f.Add("211-Features\r\n EPSV\r\n211 End\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(text), maxLine))
		if err != nil {
			return
		}
		if !strings.HasPrefix(text, r.raw) {
			t.Fatalf("reply %q is not the beginning of %q", r.raw, text)
		}
		if p, ok := r.passivePort(); ok {
			if again, ok := (reply{code: 229, raw: format229(p)}).passivePort(); !ok || again != p {
				t.Fatalf("port %d reads back as %d", p, again)
			}
		}
	})
}

func FuzzActiveTarget(f *testing.F) {
	f.Add("EPRT |2|2001:db8:1::10|50047|")
	f.Add("PORT 192,0,2,10,187,25")
	client := netip.MustParseAddr("2001:db8:1::10")
	f.Fuzz(func(t *testing.T, line string) {
		for _, from := range []netip.Addr{client, netip.MustParseAddr("192.0.2.10")} {
			c := parseCommand(line)
			if c.verb != eprt && c.verb != port {
				return
			}
			to, err := c.activeTarget(from)
			if err == nil && (to.Addr() != from || to.Port() < 1024) {
				t.Fatalf("%q of %s leads to %s", line, from, to)
			}
		}
	})
}
