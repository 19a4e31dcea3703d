package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"genkan/acl"
)

func TestForwardBothFamilies(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{
		Name: "echo", Listen: mustListen(t, "[::1]:0", "127.0.0.1:0"), To: mustBackend(t, to), Access: acl.AllowAll(),
	}}})
	for _, host := range []string{"::1", "127.0.0.1"} {
		conn := mustDial(t, s.at(t, host))
		sent := bytes.Repeat([]byte("over the threshold "), 10000)
		go func() {
			conn.Write(sent)
			conn.CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: sent %d bytes, got %d, %v", host, len(sent), len(got), err)
		}
		s.log.waitFor(t, "msg=connection", "forward=echo", "client="+host, "backend="+to, "up=190000", "down=190000", "end=eof")
	}
	poll(t, "the slots were not given back", func() bool { return s.Stats().Open == 0 })
	st := s.Stats()
	if st.IPv4.Accepted != 1 || st.IPv6.Accepted != 1 || st.Services[0].Allowed != 2 || st.Services[0].Up != 380000 {
		t.Errorf("Stats: %+v", st)
	}
}

// The backend ends its side first; what the client sends later still arrives.
func TestForwardHalfClose(t *testing.T) {
	got := make(chan string, 1)
	to := startBackend(t, func(conn *net.TCPConn) {
		conn.Write([]byte("banner"))
		conn.CloseWrite()
		rest, _ := io.ReadAll(conn)
		got <- string(rest)
	})
	s := start(t, Config{Forwards: []Forward{{
		Name: "half", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(),
	}}})
	conn := mustDial(t, s.at(t, "::1"))
	if banner, err := io.ReadAll(conn); err != nil || string(banner) != "banner" {
		t.Fatalf("banner: %q, %v", banner, err)
	}
	conn.Write([]byte("late"))
	conn.CloseWrite()
	if late := <-got; late != "late" {
		t.Errorf("after the backend's end it got %q", late)
	}
}

func TestForwardDenied(t *testing.T) {
	s := start(t, Config{Forwards: []Forward{{
		Name: "shut", Listen: mustListen(t, "[::1]:0", "127.0.0.1:0"), To: mustBackend(t, unusedAddr(t)),
		Access: mustRules(t, "deny ::1", "allow 192.0.2.0/24"),
	}}})
	for _, row := range []struct{ host, rule, at string }{
		{"::1", `rule="deny ::1"`, "at=genkan.toml:1:10"},
		{"127.0.0.1", `rule=""`, ""},
	} {
		wantReset(t, s.at(t, row.host))
		s.log.waitFor(t, "msg=denied", "forward=shut", "client="+row.host, row.rule, row.at)
	}
	poll(t, "the slots were not given back", func() bool { return s.Stats().Open == 0 })
	if got := s.Stats(); got.Services[0].Denied != 2 || got.Rules[0].Denied != 1 || got.Rules[len(got.Rules)-1].Denied != 1 {
		t.Errorf("Stats: %+v", got)
	}
}

func TestForwardZeroPolicyDenies(t *testing.T) {
	s := start(t, Config{Forwards: []Forward{{Name: "shut", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, unusedAddr(t))}}})
	wantReset(t, s.at(t, "::1"))
}

func TestForwardShadow(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{
		Name: "shadow", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: mustRules(t, "deny ::1", "allow all"), Shadow: true,
	}}})
	conn := mustDial(t, s.at(t, "::1"))
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.log.waitFor(t, `msg="would be denied"`, "forward=shadow", "client=::1", `rule="deny ::1"`)
	if got := s.Stats().Services[0]; got.Shadowed != 1 || got.Denied != 0 {
		t.Errorf("Stats: %+v", got)
	}
}

// A backend that refuses: the client is told at once, the operator which
// backend and why.
func TestForwardBackendRefuses(t *testing.T) {
	to := unusedAddr(t)
	s := start(t, Config{Forwards: []Forward{{
		Name: "down", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(),
	}}})
	wantReset(t, s.at(t, "::1"))
	line := s.log.waitFor(t, `msg="no backend"`, "forward=down", "client=::1", "waited=")
	if want := `cause="backend ` + to + `: connection refused after `; !strings.Contains(line, want) {
		t.Errorf("log %q lacks %q", line, want)
	}
	poll(t, "the slot was not given back", func() bool { return s.Stats().Open == 0 })
}

// A backend at its max_conns gets no more: the client is told at once, and the
// operator which backend it was. When one goes there is room again.
func TestForwardBackendFull(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{
		Name: "small", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(), MaxConns: 1,
	}}})
	first := mustDial(t, s.at(t, "::1"))
	first.Write([]byte("x"))
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wantReset(t, s.at(t, "::1"))
	s.log.waitFor(t, `msg="no backend"`, "forward=small", "client=::1", `cause="backend `+to+`: at max_conns"`, "waited=")
	first.Close()
	poll(t, "the backend was not given back", func() bool { return s.Stats().Backends[0].Open == 0 })
	next := mustDial(t, s.at(t, "::1"))
	next.Write([]byte("x"))
	if _, err := io.ReadFull(next, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// The next backend is tried while nothing was sent, and one that fails over
// and over is not tried first any more.
func TestForwardRetriesAndEjects(t *testing.T) {
	down, up := unusedAddr(t), startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{
		Name: "two", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, down, up), Access: acl.AllowAll(),
	}}})
	for range 12 {
		conn := mustDial(t, s.at(t, "::1"))
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	s.log.waitFor(t, `msg="backend ejected"`, "forward=two", "backend="+down, `cause="connection refused"`)
	if got := s.Stats().Backends[0]; got.Backend != down || got.Failures != ejectAfter {
		t.Errorf("after %d failures: %+v", ejectAfter, got)
	}
}

// A backend that is known to work from connections that stay is not ejected for
// single failures between them.
func TestForwardConnectedCounts(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{
		Name: "stay", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to, unusedAddr(t)), Access: acl.AllowAll(),
	}}})
	good := s.Server.state.Load().forwards["stay"].groups[0].members[0]
	for range 2 * ejectAfter {
		good.mu.Lock()
		good.streak++
		good.doubt()
		good.mu.Unlock()
		conn := mustDial(t, s.at(t, "::1"))
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	good.mu.Lock()
	defer good.mu.Unlock()
	if good.streak != 0 {
		t.Errorf("with %d connections open %d failures count in a row, want none", 2*ejectAfter, good.streak)
	}
}

// A name that leads where nobody may be taken is no reason to refuse the client: there is
// another one.
func TestForwardPassesTheForbidden(t *testing.T) {
	to := startBackendAt(t, "127.0.0.2:0", echo)
	s := start(t, Config{
		Backends: []acl.Prefix{mustPrefix(t, "127.0.0.2/32")},
		Forwards: []Forward{{
			Name: "two", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, "localhost:9", to), Access: acl.AllowAll(),
		}},
	})
	s.log.waitFor(t, `msg="backend name resolved"`, "backend=localhost:9")
	for range 4 {
		conn := mustDial(t, s.at(t, "::1"))
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestForwardHash(t *testing.T) {
	name := func(text string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) { conn.Write([]byte(text)) }
	}
	s := start(t, Config{Forwards: []Forward{{
		Name: "hash", Listen: mustListen(t, "[::1]:0"), Access: acl.AllowAll(), Balance: BalanceHash,
		To: mustBackend(t, startBackend(t, name("A")), startBackend(t, name("B")), startBackend(t, name("C"))),
	}}})
	seen := map[string]bool{}
	for range 10 {
		conn := mustDial(t, s.at(t, "::1"))
		got, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(got)] = true
	}
	if len(seen) != 1 {
		t.Errorf("one client came to backends %v", seen)
	}
}

// A reload keeps what both configurations have: the listener, its streams.
func TestApply(t *testing.T) {
	name := func(text string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) { conn.Write([]byte(text)); echo(conn) }
	}
	one, two := startBackend(t, name("1")), startBackend(t, name("2"))
	config := Config{Forwards: []Forward{
		{Name: "kept", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, one), Access: acl.AllowAll()},
		{Name: "gone", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, one), Access: acl.AllowAll()},
	}}
	s := start(t, config)
	first, gone := s.at(t, "::1"), s.at(t, "127.0.0.1")
	read := func(conn *net.TCPConn) string {
		b := make([]byte, 1)
		io.ReadFull(conn, b)
		return string(b)
	}
	old := mustDial(t, first)
	if got := read(old); got != "1" {
		t.Fatalf("before the reload: %q", got)
	}

	broken := config
	broken.Forwards = append([]Forward{}, config.Forwards...)
	broken.Forwards[0].To = nil
	want := `forward "kept": no backend; write to = "ADDRESS:PORT"`
	if err := s.Apply(broken); err == nil || err.Error() != want {
		t.Errorf("Apply(broken): %v, want %s", err, want)
	}

	config.Forwards = []Forward{config.Forwards[0], {Name: "new", Listen: mustListen(t, "127.0.0.2:0"), To: mustBackend(t, one), Access: acl.AllowAll()}}
	config.Forwards[0].To = mustBackend(t, two)
	if err := s.Apply(config); err != nil {
		t.Fatal(err)
	}
	if got := read(mustDial(t, s.at(t, "::1"))); got != "2" || s.at(t, "::1") != first {
		t.Errorf("after the reload: %q at %s, before at %s", got, s.at(t, "::1"), first)
	}
	old.Write([]byte("x"))
	if got := read(old); got != "x" {
		t.Errorf("the old stream was cut: %q", got)
	}
	if got := read(mustDial(t, s.at(t, "127.0.0.2"))); got != "1" {
		t.Errorf("new forward: %q", got)
	}
	if conn, err := net.Dial("tcp", gone); err == nil {
		conn.Close()
		t.Error("the listener that was taken away still accepts")
	}
}

func TestCut(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{Name: "echo", Listen: mustListen(t, "[::1]:0", "127.0.0.1:0"), To: mustBackend(t, to), Access: acl.AllowAll()}}})
	var conns []*net.TCPConn
	for _, host := range []string{"::1", "127.0.0.1"} {
		conn := mustDial(t, s.at(t, host))
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	if n := s.Cut(func(a acl.Addr) bool { return a.Is6() }); n != 1 {
		t.Errorf("cut %d streams, want 1", n)
	}
	if _, err := conns[0].Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("cut stream: %v, want a reset", err)
	}
	conns[1].Write([]byte("y"))
	if _, err := io.ReadFull(conns[1], make([]byte, 1)); err != nil {
		t.Errorf("the other stream: %v", err)
	}
}

// What does not end by itself is cut at the end of the drain.
func TestStopDrains(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{
		Forwards: []Forward{{Name: "echo", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll()}},
		Timeouts: Timeouts{Drain: 100e6},
	})
	conn := mustDial(t, s.at(t, "::1"))
	conn.Write([]byte("x"))
	io.ReadFull(conn, make([]byte, 1))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.log.waitFor(t, `msg="connections cut at the stop"`, "connections=1")
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

// At max_conns clients wait in the kernel's queue, and come in as others go.
func TestMaxConnsWaits(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{
		MaxConns: 2,
		Forwards: []Forward{{Name: "echo", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll()}},
	})
	exchange := func(conn *net.TCPConn) {
		t.Helper()
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	first, second := mustDial(t, s.at(t, "::1")), mustDial(t, s.at(t, "::1"))
	exchange(first)
	exchange(second)
	s.log.waitFor(t, `msg="max_conns reached: new clients wait until connections end"`, "max_conns=2")
	var waiting []*net.TCPConn
	for range 5 {
		conn := mustDial(t, s.at(t, "::1"))
		conn.Write([]byte("x"))
		waiting = append(waiting, conn)
	}
	if n := s.Stats().Open; n != 2 {
		t.Errorf("%d connections are open at max_conns 2", n)
	}
	exchange(first) // what is open goes on
	first.Close()
	second.Close()
	s.log.waitFor(t, `msg="accepting again"`)
	for _, conn := range waiting {
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	poll(t, "connections were not counted out", func() bool { return s.Stats().Open == 0 })
}
