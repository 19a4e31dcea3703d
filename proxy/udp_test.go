package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
)

// startUDPBackend answers each datagram by answer, on 127.0.0.1.
func startUDPBackend(t *testing.T, answer func(conn net.PacketConn, from net.Addr, datagram []byte)) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			answer(conn, from, buffer[:n])
		}
	})
	t.Cleanup(func() {
		conn.Close()
		running.Wait()
	})
	return conn.LocalAddr().String()
}

func echoDatagram(conn net.PacketConn, from net.Addr, datagram []byte) { conn.WriteTo(datagram, from) }

func dialUDP(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.UDPConn)
}

// askUDP sends a datagram and reads one.
func askUDP(t *testing.T, conn *net.UDPConn, question string) string {
	t.Helper()
	if _, err := conn.Write([]byte(question)); err != nil {
		t.Fatal(err)
	}
	return hear(t, conn)
}

func hear(t *testing.T, conn *net.UDPConn) string {
	t.Helper()
	buffer := make([]byte, 1<<16)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

// silent wants nothing to come; it waits for the answer to a later question
// of somebody else first, by which the earlier one was looked at.
func silent(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("an answer of %d bytes, want none", n)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
}

func TestUDPBothFamilies(t *testing.T) {
	to := startUDPBackend(t, echoDatagram)
	s := start(t, Config{Forwards: []Forward{{
		Name: "echo", Listen: mustListen(t, "udp/:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Idle: time.Second, // on a busy machine an answer takes a while
	}}})
	for _, addr := range s.Addrs() {
		at := addr.(*net.UDPAddr)
		host := "127.0.0.77" // an answer from 127.0.0.1 would not be taken
		if at.IP.To4() == nil {
			host = "::1"
		}
		conn := dialUDP(t, net.JoinHostPort(host, fmt.Sprint(at.Port)))
		for i := range 20 {
			question := strings.Repeat("x", i*500)
			if got := askUDP(t, conn, question); got != question {
				t.Errorf("%s: %d bytes came back as %d", host, len(question), len(got))
			}
		}
		s.log.waitFor(t, "msg=session", "forward=echo", "client="+conn.LocalAddr().(*net.UDPAddr).IP.String(), "backend="+to, "up=", "down=", "end=idle")
	}
	poll(t, "leases were not released", func() bool { return s.Stats().Backends[0].Open == 0 })
	// On a busy machine a client may have had more than one session.
	if st := s.Stats(); st.IPv4.Accepted < 1 || st.IPv6.Accepted < 1 || st.Services[0].Up != 190000 || st.Services[0].Down != 190000 {
		t.Errorf("Stats: %+v", st)
	}
}

func TestUDPDeniedIsSilent(t *testing.T) {
	to := startUDPBackend(t, echoDatagram)
	s := start(t, Config{Forwards: []Forward{{
		Name: "shut", Listen: mustListen(t, "udp/127.0.0.1:0"), To: mustBackend(t, to), Access: mustRules(t, "deny all"),
	}}})
	conn := dialUDP(t, s.at(t, "127.0.0.1"))
	conn.Write([]byte("x"))
	s.log.waitFor(t, "msg=denied", "forward=shut", "client=127.0.0.1", `rule="deny all"`, "at=genkan.toml:1:10")
	silent(t, conn)
}

// Before its second datagram a client is answered with three times what it
// sent, no more; its source may be forged.
func TestUDPAmplification(t *testing.T) {
	big := func(conn net.PacketConn, from net.Addr, datagram []byte) {
		conn.WriteTo(bytes.Repeat([]byte("a"), 2*len(datagram)), from)
		conn.WriteTo(bytes.Repeat([]byte("b"), 2*len(datagram)), from)
		conn.WriteTo([]byte("c"), from)
	}
	to := startUDPBackend(t, big)
	s := start(t, Config{Forwards: []Forward{
		{Name: "guarded", Listen: mustListen(t, "udp/127.0.0.1:0"), To: mustBackend(t, to), Access: acl.AllowAll()},
		{Name: "dns", Listen: mustListen(t, "udp/127.0.0.2:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Protocol: "dns"},
	}})
	conn := dialUDP(t, s.at(t, "127.0.0.1"))
	if got := askUDP(t, conn, "12345678") + hear(t, conn); got != "aaaaaaaaaaaaaaaac" {
		t.Errorf("first datagram answered by %q", got)
	}
	if got := askUDP(t, conn, "1234") + hear(t, conn) + hear(t, conn); got != "aaaaaaaabbbbbbbbc" {
		t.Errorf("second datagram answered by %q", got)
	}
	dns := dialUDP(t, s.at(t, "127.0.0.2"))
	if got := askUDP(t, dns, "1234") + hear(t, dns) + hear(t, dns); got != "aaaaaaaabbbbbbbbc" {
		t.Errorf("dns answered by %q", got)
	}
}

// The table is bounded: a newcomer takes the place of the oldest client that
// sent one datagram, never that of one that came back.
func TestUDPTableFull(t *testing.T) {
	to := startUDPBackend(t, echoDatagram)
	s := start(t, Config{Forwards: []Forward{{
		Name: "small", Listen: mustListen(t, "udp/127.0.0.1:0", "udp/[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(), MaxSessions: 2,
	}}})
	at := s.at(t, "127.0.0.1")
	first, second, third, fourth := dialUDP(t, at), dialUDP(t, at), dialUDP(t, at), dialUDP(t, at)
	askUDP(t, first, "1")
	askUDP(t, second, "2")
	askUDP(t, first, "1")
	askUDP(t, third, "3")
	s.log.waitFor(t, "msg=session", "end=evicted", "up=1")
	askUDP(t, third, "3")
	fourth.Write([]byte("4"))
	s.log.waitFor(t, `msg="session table full: new clients are dropped"`, "forward=small", "sessions=2")
	silent(t, fourth)
	askUDP(t, first, "1")
	askUDP(t, third, "3")
	askUDP(t, dialUDP(t, s.at(t, "::1")), "the other family has room of its own")
}

func TestUDPBackendRefuses(t *testing.T) {
	gone, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	s := start(t, Config{Forwards: []Forward{{
		Name: "down", Listen: mustListen(t, "udp/127.0.0.1:0"), To: mustBackend(t, gone.LocalAddr().String()), Access: acl.AllowAll(),
	}}})
	conn := dialUDP(t, s.at(t, "127.0.0.1"))
	conn.Write([]byte("x"))
	s.log.waitFor(t, `msg="no backend"`, "forward=down", "client=127.0.0.1", `why="backend `+gone.LocalAddr().String()+`: port unreachable after `)
	if st := s.Stats(); st.Services[0].Failed != 1 || st.Backends[0].Failures != 1 {
		t.Errorf("Stats: %+v", st)
	}
}

// The client learns by ICMP that nobody is there.
func TestUDPUnreachable(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
	gone, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	s := start(t, Config{Forwards: []Forward{{
		Name: "down", Listen: mustListen(t, "udp/127.0.0.1:0", "udp/[::1]:0"), To: mustBackend(t, gone.LocalAddr().String()), Access: acl.AllowAll(),
	}}})
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn := dialUDP(t, s.at(t, host))
		conn.Write([]byte("x"))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v, want ECONNREFUSED", host, err)
		}
	}
}

func TestUDPSourcePool(t *testing.T) {
	to := startUDPBackend(t, func(conn net.PacketConn, from net.Addr, _ []byte) {
		conn.WriteTo([]byte(from.(*net.UDPAddr).IP.String()), from)
	})
	s := start(t, Config{
		Pools:    []Pool{{Name: "default", Prefix: mustPrefix(t, "127.66.0.0/16")}},
		Forwards: []Forward{{Name: "dns", Listen: mustListen(t, "udp/[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Source: SourcePool, Protocol: "dns"}},
	})
	if got := askUDP(t, dialUDP(t, s.at(t, "::1")), "who am I"); got != "127.66.0.1" {
		t.Errorf("the backend saw %s", got)
	}
}

func TestPortRanges(t *testing.T) {
	base := uint16(0)
	var to string
	for base == 0 { // four ports in a row, for backends
		first := portOf(t, unusedAddr(t))
		if first > 65000 {
			continue
		}
		free := true
		for i := range uint16(4) {
			ln, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				free = false
				break
			}
			ln.Close()
		}
		if free {
			base = first
		}
	}
	for i := range uint16(4) {
		startBackendAt(t, fmt.Sprintf("127.0.0.1:%d", base+i), func(conn *net.TCPConn) { fmt.Fprint(conn, i) })
	}
	to = fmt.Sprintf("127.0.0.1:%d-%d", base, base+3)
	s := start(t, Config{Forwards: []Forward{{
		Name: "range", Listen: mustListen(t, fmt.Sprintf("127.0.0.9:%d-%d", base, base+3)), To: mustBackend(t, to), Access: acl.AllowAll(),
	}}})
	for i := range uint16(4) {
		conn := mustDial(t, fmt.Sprintf("127.0.0.9:%d", base+i))
		got := make([]byte, 1)
		conn.Read(got)
		if string(got) != fmt.Sprint(i) {
			t.Errorf("port %d of the range came to backend %q", i, got)
		}
	}
	if got := s.Stats().Backends; len(got) != 4 || got[3].Backend != fmt.Sprintf("127.0.0.1:%d", base+3) {
		t.Errorf("backends: %+v", got)
	}
}
