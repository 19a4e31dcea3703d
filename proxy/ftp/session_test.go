package ftp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
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
	if got := s.line(); got != want {
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

// newStage starts a session of a client at from (a loopback address).
func newStage(t *testing.T, from netip.Addr) *stage {
	t.Helper()
	return newStageOf(t, from, Config{})
}

// newStageOf is newStage with what cfg says of TLS.
func newStageOf(t *testing.T, from netip.Addr, cfg Config) *stage {
	t.Helper()
	st := &stage{t: t, hub: NewHub(Ports{40000, 40009}), ended: make(chan error, 1), relayed: make(chan struct{}, 8)}
	client, clientFar := pair(t, from)
	serverFar, server := pair(t, loop4)
	deadline := time.Now().Add(patience)
	client.SetDeadline(deadline)
	server.SetDeadline(deadline)
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
	st.server.say("220 ready")
	st.client.hear("220 ready")
	return st
}

// port reads the port out of a 229 or 227.
func portOf(t *testing.T, line string) uint16 {
	t.Helper()
	code, _ := strconv.Atoi(line[:3])
	p, ok := reply{code: code, last: line}.passivePort()
	if !ok {
		t.Fatalf("no port in %q", line)
	}
	return p
}

// The dialogues that real clients and servers hold, as they were recorded.
// "C>" is the client's line, "S<" the server's; ">S" is what the server hears,
// "<C" what the client hears.
func TestDialogues(t *testing.T) {
	for _, row := range []struct {
		name string
		from netip.Addr
		talk string
	}{
		{"unchanged", loop6, `
			C> user anonymous
			>S user anonymous
			S< 331 Please specify the password.
			<C 331 Please specify the password.`},
		{"EPSV", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"EPSV-of-the-range", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||40007|)
			<C 229 Entering Extended Passive Mode (|||40007|)`},
		{"EPSV-2-of-wget", loop6, `
			C> EPSV 2
			>S EPSV 1
			S< 229 Entering Extended Passive Mode (|||50007|).
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"EPSV-2-of-IPv4", loop4, `
			C> EPSV 2
			>S EPSV 2
			S< 522 Bad network protocol.
			<C 522 Bad network protocol.`},
		{"EPSV-before-login", loop6, `
			C> EPSV
			>S EPSV
			S< 530 Please login with USER and PASS.
			<C 530 Please login with USER and PASS.`},
		{"EPSV-to-a-server-of-1985", loop6, `
			C> EPSV
			>S EPSV
			S< 500 'EPSV': command not understood.
			>S PASV
			S< 227 Entering Passive Mode (10,77,0,2,195,84)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"EPSV-ALL", loop6, `
			C> EPSV ALL
			>S EPSV ALL
			S< 200 EPSV ALL ok.
			<C 200 EPSV ALL ok.`},
		{"PASV-of-IPv4", loop4, `
			C> PASV
			>S PASV
			S< 227 Entering Passive Mode (10,77,0,2,195,89).
			<C 227 Entering Passive Mode (127,0,0,1,156,64).`},
		{"PASV-of-IPv6", loop6, `
			C> PASV
			>S PASV
			S< 227 Entering Passive Mode (10,77,0,2,195,89).
			<C 227 Entering Passive Mode (0,0,0,0,156,64).`},
		{"multi-line", loop6, `
			C> FEAT
			>S FEAT
			S< 211-Features:
			S<  EPSV
			S< 211 End
			<C 211-Features:
			<C  EPSV
			<C 211 End`},
		{"preliminary", loop6, `
			C> RETR x
			>S RETR x
			S< 150 Opening
			<C 150 Opening
			S< 226 Transfer complete.
			<C 226 Transfer complete.`},
		{"curl-get", loop6, `
			C> USER anonymous
			>S USER anonymous
			S< 331 Please specify the password.
			<C 331 Please specify the password.
			C> PASS ftp@example.com
			>S PASS ftp@example.com
			S< 230 Login successful.
			<C 230 Login successful.
			C> PWD
			>S PWD
			S< 257 "/" is the current directory
			<C 257 "/" is the current directory
			C> CWD pub
			>S CWD pub
			S< 250 Directory successfully changed.
			<C 250 Directory successfully changed.
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50008|)
			<C 229 Entering Extended Passive Mode (|||40000|)
			C> TYPE I
			>S TYPE I
			S< 200 Switching to Binary mode.
			<C 200 Switching to Binary mode.
			C> SIZE file
			>S SIZE file
			S< 213 10
			<C 213 10
			C> RETR file
			>S RETR file
			S< 150 Opening BINARY mode data connection for file (10 bytes).
			<C 150 Opening BINARY mode data connection for file (10 bytes).
			S< 226 Transfer complete.
			<C 226 Transfer complete.
			C> QUIT
			>S QUIT
			S< 221 Goodbye.
			<C 221 Goodbye.`},
		{"curl-put", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50008|)
			<C 229 Entering Extended Passive Mode (|||40000|)
			C> TYPE I
			>S TYPE I
			S< 200 Switching to Binary mode.
			<C 200 Switching to Binary mode.
			C> STOR x
			>S STOR x
			S< 150 Ok to send data.
			<C 150 Ok to send data.
			S< 226 Transfer complete.
			<C 226 Transfer complete.`},
		{"lftp-lists-and-gets", loop6, `
			C> FEAT
			>S FEAT
			S< 211-Features:
			S<  EPRT
			S<  EPSV
			S< 211 End
			<C 211-Features:
			<C  EPRT
			<C  EPSV
			<C 211 End
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50001|)
			<C 229 Entering Extended Passive Mode (|||40000|)
			C> LIST
			>S LIST
			S< 150 Here comes the directory listing.
			<C 150 Here comes the directory listing.
			S< 226 Directory send OK.
			<C 226 Directory send OK.
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50002|)
			<C 229 Entering Extended Passive Mode (|||40001|)
			C> RETR file
			>S RETR file
			S< 150 Opening
			<C 150 Opening
			S< 226 Transfer complete.
			<C 226 Transfer complete.`},
		{"vsftpd-refuses-3", loop6, `
			C> EPSV 3
			>S EPSV 3
			S< 522 Bad network protocol.
			<C 522 Bad network protocol.`},
		{"vsftpd-after-EPSV-ALL", loop4, `
			C> EPSV ALL
			>S EPSV ALL
			S< 200 EPSV ALL ok.
			<C 200 EPSV ALL ok.
			C> PASV
			>S PASV
			S< 550 Permission denied.
			<C 550 Permission denied.`},
		{"pipelined-refusals-in-turn", loop6, `
			C> TYPE I
			C> EPRT |2|2001:db8::1|40000|
			C> NOOP
			>S TYPE I
			>S NOOP
			S< 200 I
			<C 200 I
			<C 500 Illegal address: data goes to the client of this connection only.
			S< 200 NOOP
			<C 200 NOOP`},
		{"EPRT-privileged", loop6, `
			C> EPRT |2|::1|25|
			<C 500 Illegal port: below 1024.`},
		{"EPRT-1-of-IPv6", loop6, `
			C> EPRT |1|127.0.0.1|40000|
			<C 522 Network protocol not supported, use (2)`},
		{"EPRT-2-of-IPv4", loop4, `
			C> EPRT |2|::1|40000|
			<C 522 Network protocol not supported, use (1)`},
		{"EPRT-nonsense", loop6, `
			C> EPRT 2 ::1 4000
			<C 501 Syntax error in the address.`},
		{"PORT-of-IPv6", loop6, `
			C> PORT 127,0,0,1,156,64
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"PORT-bounce", loop4, `
			C> PORT 10,1,2,3,0,25
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"LPRT", loop6, `
			C> LPRT 4,4,10,1,2,3,2,0,25
			<C 502 Command not implemented; use EPSV or EPRT.`},
		{"ABOR-with-telnet", loop6, "\n\t\t\tC> \xff\xf4\xff\xf2ABOR\n\t\t\t>S \xff\xf4\xff\xf2ABOR\n\t\t\tS< 225 No transfer to ABOR.\n\t\t\t<C 225 No transfer to ABOR."},
		{"timeout-unasked", loop6, `
			S< 421 Timeout.
			<C 421 Timeout.`},
	} {
		t.Run(row.name, func(t *testing.T) {
			newStage(t, row.from).play(row.talk)
		})
	}
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

// Passive data goes to the client that was told the port, and to no other.
func TestPassiveData(t *testing.T) {
	st := newStage(t, loop6)
	data, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	st.client.say("EPSV")
	st.server.hear("EPSV")
	st.server.say(fmt.Sprintf("229 Entering (|||%d|)", data.Addr().(*net.TCPAddr).Port))
	port := portOf(t, st.client.line())

	thief, thiefFar := pair(t, loop6)
	if st.hub.Arrive(thiefFar, netip.MustParseAddr("2001:db8:666::1"), port) {
		t.Error("another client's connection was taken")
	}
	if st.hub.Arrive(thiefFar, loop6, port+1) {
		t.Error("a connection to a port that was not told was taken")
	}
	thief.Close()
	conn, far := pair(t, loop6)
	if !st.hub.Arrive(far, loop6, port) {
		t.Fatal("the client's own connection was not taken")
	}
	if again, _ := pair(t, loop6); st.hub.Arrive(again, loop6, port) {
		t.Error("a second connection was taken")
	}
	server, err := data.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(server, "the file")
	server.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "the file" {
		t.Errorf("data %q, %v", got, err)
	}
	<-st.relayed
}

// Active data: the server connects to us, we to the client.
func TestActiveData(t *testing.T) {
	for _, row := range []struct {
		name          string
		from          netip.Addr
		format, heard string
		old           bool // the server knows no EPRT
	}{
		{"EPRT", loop6, "EPRT |2|::1|%d|", "EPRT |1|127.0.0.1|", false},
		{"EPRT-odd-delimiter", loop6, "EPRT !2!::1!%d!", "EPRT |1|127.0.0.1|", false},
		{"EPRT-old-server", loop6, "EPRT |2|::1|%d|", "EPRT |1|127.0.0.1|", true},
		{"EPRT-IPv4", loop4, "EPRT |1|127.0.0.1|%d|", "EPRT |1|127.0.0.1|", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newStage(t, row.from)
			data, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(row.from, 0)))
			if err != nil {
				t.Fatal(err)
			}
			defer data.Close()
			st.client.say(fmt.Sprintf(row.format, data.Addr().(*net.TCPAddr).Port))
			line := st.server.line()
			if !strings.HasPrefix(line, row.heard) {
				t.Fatalf("server heard %q", line)
			}
			_, to, err := parseEPRT(strings.TrimPrefix(line, "EPRT "))
			if err != nil {
				t.Fatal(err)
			}
			if row.old {
				st.server.say("500 Unknown command.")
				if to, err = parsePORT(strings.TrimPrefix(st.server.line(), "PORT ")); err != nil {
					t.Fatal(err)
				}
			}
			st.server.say("200 command successful")
			st.client.hear("200 command successful")
			server, err := net.Dial("tcp4", to.String())
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(server, "the file")
			server.Close()
			data.SetDeadline(time.Now().Add(patience))
			conn, err := data.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := io.ReadAll(conn); err != nil || string(got) != "the file" {
				t.Errorf("data %q, %v", got, err)
			}
			<-st.relayed
		})
	}
}

// A transfer is no silence: the control connection outlasts it, and ends by its
// own silence after that.
func TestIdleWaitsForData(t *testing.T) {
	const idle = 100 * time.Millisecond
	st := newStageOf(t, loop6, Config{Idle: idle})
	data, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	st.client.say("EPSV")
	st.server.hear("EPSV")
	st.server.say(fmt.Sprintf("229 Entering (|||%d|)", data.Addr().(*net.TCPAddr).Port))
	near, far := pair(t, loop6)
	if !st.hub.Arrive(far, loop6, portOf(t, st.client.line())) {
		t.Fatal("the client's own connection was not taken")
	}
	server, err := data.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-st.ended:
		t.Fatalf("ended in the midst of a transfer: %v", err)
	case <-time.After(5 * idle):
	}
	server.Close()
	near.Close()
	<-st.relayed
	select {
	case err := <-st.ended:
		if err == nil || err.Error() != "no line for 100ms" {
			t.Errorf("ended by %v", err)
		}
		st.ended <- err
	case <-time.After(patience):
		t.Error("silence does not end the session")
	}
}

// Who is not the server gets nothing of a client's at the place where the server
// is expected, which comes after him.
func TestActiveDataOfAStranger(t *testing.T) {
	st := newStage(t, loop6)
	data, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loop6, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	st.client.say(fmt.Sprintf("EPRT |2|::1|%d|", data.Addr().(*net.TCPAddr).Port))
	_, to, err := parseEPRT(strings.TrimPrefix(st.server.line(), "EPRT "))
	if err != nil {
		t.Fatal(err)
	}
	st.server.say("200 command successful")
	st.client.hear("200 command successful")
	from := func(addr string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
		return d.Dial("tcp4", to.String())
	}
	if stranger, err := from("127.0.0.2"); err == nil { // else the reset was there first
		stranger.SetDeadline(time.Now().Add(patience))
		io.WriteString(stranger, "forged")
		if got, err := io.ReadAll(stranger); err == nil {
			t.Errorf("the stranger got %q and no reset", got)
		}
		stranger.Close()
	}
	server, err := from("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(server, "the file")
	server.Close()
	data.SetDeadline(time.Now().Add(patience))
	conn, err := data.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "the file" {
		t.Errorf("data %q, %v", got, err)
	}
	<-st.relayed
	if st.stop(); !strings.Contains(st.log.String(), "data of a stranger refused") {
		t.Errorf("log: %s", &st.log)
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
			if again, ok := (reply{code: 229, last: strings.TrimSpace(format229(p))}).passivePort(); !ok || again != p {
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
