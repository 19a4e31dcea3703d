package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"genkan/acl"
	"genkan/proxy/descriptors"
	"genkan/proxy/proxyproto"
)

func newTestGroup(t *testing.T, config groupConfig) (*group, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	config.key, config.name = "forward", "test"
	if err := config.check.fill(); err != nil {
		t.Fatal(err)
	}
	return newGroup(config, slog.New(slog.NewTextHandler(log, nil))), log
}

func pickAll(t *testing.T, g *group, clients ...string) string {
	t.Helper()
	order := ""
	for _, client := range clients {
		l, err := g.pick(mustAddr(t, client), nil)
		if err != nil {
			t.Fatal(err)
		}
		order += l.addr.Addr().String()[len("10.0.0."):]
	}
	return order
}

func TestBalance(t *testing.T) {
	to := mustBackend(t, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	same := []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"}

	g, _ := newTestGroup(t, groupConfig{to: to})
	if got := pickAll(t, g, same...); got != "1231" {
		t.Errorf("round-robin: %s", got)
	}

	g, _ = newTestGroup(t, groupConfig{to: to, groupTraits: groupTraits{balance: BalanceLeast}})
	g.members[0].open.Store(5)
	g.members[1].open.Store(1)
	if got := pickAll(t, g, same...); got != "323"+"2" && got != "3232" && got != "3323" && got != "3223" {
		t.Errorf("least: %s", got)
	}
	if g.members[0].open.Load() != 5 {
		t.Error("least: the busiest backend got one")
	}

	g, _ = newTestGroup(t, groupConfig{to: to, groupTraits: groupTraits{balance: BalanceHash}})
	if got := pickAll(t, g, "2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"); got[0] != got[1] || got[0] != got[2] {
		t.Errorf("hash: one /64 came to %s", got)
	}
	spread := map[byte]int{}
	for i := range 300 {
		spread[pickAll(t, g, fmt.Sprintf("2001:db8:%x::1", i))[0]]++
	}
	for _, b := range []byte("123") {
		if spread[b] < 50 {
			t.Errorf("hash: 300 clients were spread %v", spread)
		}
	}
}

// When its backend is out a client moves to the same other one each time, and
// those of the other backends stay.
func TestHashMovesOnlyWhoMust(t *testing.T) {
	g, _ := newTestGroup(t, groupConfig{to: mustBackend(t, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"), groupTraits: groupTraits{balance: BalanceHash}})
	var clients []string
	for i := range 100 {
		clients = append(clients, fmt.Sprintf("192.0.2.%d", i))
	}
	before := pickAll(t, g, clients...)
	for range ejectAfter {
		g.failed(g.members[0], errors.New("x"))
	}
	after := pickAll(t, g, clients...)
	for i := range before {
		if before[i] == '1' && after[i] == '1' || before[i] != '1' && before[i] != after[i] {
			t.Errorf("client %d: %c before, %c after", i, before[i], after[i])
		}
	}
}

// A client keeps its backend over a restart, a reload of the backends in
// another order, and on every front: the hash has no secret.
func TestHashIsTheSameEverywhere(t *testing.T) {
	pick := func(backends ...string) (picked []string) {
		g, _ := newTestGroup(t, groupConfig{to: mustBackend(t, backends...), groupTraits: groupTraits{balance: BalanceHash}})
		for i := range 20 {
			l, err := g.pick(mustAddr(t, fmt.Sprintf("2001:db8:%x::1", i)), nil)
			if err != nil {
				t.Fatal(err)
			}
			picked = append(picked, l.text)
		}
		return picked
	}
	first := fmt.Sprint(pick("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))
	if second := fmt.Sprint(pick("10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80")); first != second {
		t.Errorf("%s\n%s", first, second)
	}
	if got := weigh("10.0.0.1:80", netip.MustParseAddr("2001:db8::")); got != 12663405663072013709 {
		t.Errorf("the hash of other releases was another one: %d", got)
	}
}

func TestMaxConns(t *testing.T) {
	g, _ := newTestGroup(t, groupConfig{to: mustBackend(t, "10.0.0.1:80", "10.0.0.2:80"), groupTraits: groupTraits{maxConns: 1}})
	client := mustAddr(t, "192.0.2.1")
	first, _ := g.pick(client, nil)
	second, err := g.pick(client, nil)
	if err != nil || first.member == second.member {
		t.Fatalf("%v, %v, %v", first, second, err)
	}
	_, err = g.pick(client, nil)
	if want := "backend 10.0.0.1:80: at max_conns; backend 10.0.0.2:80: at max_conns"; !errors.Is(err, errFull) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	second.done()
	if third, err := g.pick(client, nil); err != nil || third.member != second.member {
		t.Errorf("%v, %v", third, err)
	}
}

// An ejected backend is still better than none, and comes back by itself.
func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := newTestGroup(t, groupConfig{to: mustBackend(t, "10.0.0.1:80", "10.0.0.2:80")})
		for range ejectAfter {
			g.failed(g.members[0], errors.New("refused"))
		}
		log.waitFor(t, `msg="backend ejected"`, "forward=test", "backend=10.0.0.1:80", "cause=refused")
		if got := pickAll(t, g, "192.0.2.1", "192.0.2.1"); got != "22" {
			t.Errorf("while ejected: %s", got)
		}
		if l, err := g.pick(mustAddr(t, "192.0.2.1"), []*member{g.members[1]}); err != nil || l.member != g.members[0] {
			t.Errorf("with nothing else left: %v, %v", l, err)
		}
		time.Sleep(ejectFor)
		if got := pickAll(t, g, "192.0.2.1", "192.0.2.1"); got != "12" && got != "21" {
			t.Errorf("after %s: %s", ejectFor, got)
		}
	})
}

// After its time out one client tries a backend; the others go there once it
// has answered, and not while they might wait with the one.
func TestEjectedIsTriedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newTestGroup(t, groupConfig{to: mustBackend(t, "10.0.0.1:80", "10.0.0.2:80"), groupTraits: groupTraits{dial: 3 * time.Second}})
		gone, client := g.members[0], mustAddr(t, "192.0.2.1")
		for range ejectAfter {
			g.failed(gone, errors.New("no answer"))
		}
		tries := func() (n int) {
			for range 10 {
				if l, err := g.pick(client, nil); err != nil {
					t.Error(err)
				} else if l.member == gone {
					n++
				}
			}
			return n
		}
		time.Sleep(ejectFor)
		if n := tries(); n != 1 {
			t.Errorf("after its time %d of 10 clients tried it, want one", n)
		}
		time.Sleep(3 * time.Second)
		if n := tries(); n != 1 {
			t.Errorf("after a try whose end nobody told %d of 10 clients tried it, want one", n)
		}
		g.failed(gone, errors.New("no answer"))
		if n := tries(); n != 0 {
			t.Errorf("after a failed try %d of 10 clients tried it, want none", n)
		}
		time.Sleep(ejectFor)
		if n := tries(); n != 1 {
			t.Errorf("after its time %d of 10 clients tried it, want one", n)
		}
		gone.succeeded()
		if n := tries(); n != 5 {
			t.Errorf("after a good try %d of 10 clients came to it, want 5", n)
		}
	})
}

// What this machine lacks is no backend's fault.
func TestOwnFailuresEjectNobody(t *testing.T) {
	g, log := newTestGroup(t, groupConfig{to: mustBackend(t, "10.0.0.1:80", "10.0.0.2:80")})
	for range 2 * ejectAfter {
		g.failed(g.members[0], fmt.Errorf("connect: %w", os.NewSyscallError("socket", unix.EMFILE)))
		g.failed(g.members[1], &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.EADDRNOTAVAIL)})
	}
	if got := log.String(); got != "" || g.members[0].isEjected(time.Now()) || g.members[1].isEjected(time.Now()) {
		t.Errorf("a backend was ejected: %s", got)
	}
}

func TestChecks(t *testing.T) {
	var well atomic.Bool
	to := startBackend(t, func(conn *net.TCPConn) {
		question := make([]byte, 4)
		io.ReadFull(conn, question)
		if well.Load() && string(question) == "PING" {
			io.WriteString(conn, "+PO")
			io.WriteString(conn, "NG\r\n")
			return
		}
		io.WriteString(conn, "-LOADING\r\n")
	})
	g, log := newTestGroup(t, groupConfig{
		to:          mustBackend(t, to),
		groupTraits: groupTraits{check: Check{Interval: time.Millisecond, Send: "PING", Expect: "+PONG", Rise: 2, Fall: 3}},
	})
	any := guard{bounds: descriptors.Now()}
	dial := func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		return any.dialTCP(ctx, to, source{})
	}
	g.start(context.Background(), dial, nil)
	defer g.close()
	log.waitFor(t, `msg="backend is down"`, "backend="+to, "failures=3", `cause="answer \"-LOADING\\r\\n\" lacks \"+PONG\""`)
	if _, err := g.pick(mustAddr(t, "192.0.2.1"), nil); err == nil || err.Error() != "backend "+to+": down, say its checks" {
		t.Errorf("%v, want it down", err)
	}
	well.Store(true)
	log.waitFor(t, `msg="backend is well again"`, "backend="+to)
	if _, err := g.pick(mustAddr(t, "192.0.2.1"), nil); err != nil {
		t.Error(err)
	}
}

// A backend that wants a PROXY header gets one with its checks.
func TestCheckPreamble(t *testing.T) {
	for _, announce := range []string{"proxy-v1", "proxy-v2"} {
		seen := make(chan string, 100)
		to := startBackend(t, func(conn *net.TCPConn) {
			h, err := proxyproto.Read(conn, patience)
			rest := make([]byte, 4)
			io.ReadFull(conn, rest)
			seen <- fmt.Sprint(h.Version, h.Local, string(rest), err)
		})
		start(t, Config{Forwards: []Forward{{
			Name: "f", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, to), Announce: []string{announce},
			Check: Check{Interval: time.Hour, Send: "PING", Expect: "PONG"},
		}}})
		if got, want := <-seen, fmt.Sprint(int(announce[7]-'0'), true, "PING", error(nil)); got != want {
			t.Errorf("%s: the backend saw %s, want %s", announce, got, want)
		}
	}
}

// The last good addresses stay while the name cannot be resolved, and only
// IPv4 ones count.
func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := newTestGroup(t, groupConfig{to: mustBackend(t, "app.test:80")})
		client := mustAddr(t, "192.0.2.1")
		type answer struct {
			addrs []netip.Addr
			ttl   time.Duration
			err   error
		}
		var now atomic.Pointer[answer]
		now.Store(&answer{err: errors.New("server failure")})
		var asked atomic.Int32
		lookup := func(context.Context, string) ([]netip.Addr, time.Duration, error) {
			asked.Add(1)
			a := now.Load()
			return a.addrs, a.ttl, a.err
		}
		g.start(t.Context(), nil, lookup)
		defer g.close()
		synctest.Wait()
		want := "backend app.test:80: name not resolved yet"
		if _, err := g.pick(client, nil); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		log.waitFor(t, `msg="backend name not resolved"`, "backend=app.test:80", `cause="server failure"`)

		one := netip.MustParseAddr("10.0.0.1")
		now.Store(&answer{addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1"), one}, ttl: time.Minute})
		time.Sleep(retryTTL)
		synctest.Wait()
		check := func(when string) {
			t.Helper()
			if l, err := g.pick(client, nil); err != nil || l.addr.Addr() != one {
				t.Errorf("%s: %v, %v", when, l, err)
			}
		}
		check("resolved")
		before := asked.Load()
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if n := asked.Load() - before; n != 0 {
			t.Errorf("asked %d times within the TTL", n)
		}
		now.Store(&answer{addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}})
		time.Sleep(time.Hour)
		synctest.Wait()
		if asked.Load() == before {
			t.Error("not asked again after the TTL")
		}
		check("after an answer without IPv4")
		log.waitFor(t, `msg="backend name not resolved"`, `cause="\"app.test\" has no A record"`, "keeping=[10.0.0.1]")
	})
}

func TestTTLSeen(t *testing.T) {
	name := dnsmessage.MustNewName("app.test.")
	message := dnsmessage.Message{Answers: []dnsmessage.Resource{
		{Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 300}, Body: &dnsmessage.AResource{}},
		{Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 20}, Body: &dnsmessage.AResource{}},
		{Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.TXTResource{TXT: []string{"x"}}},
	}}
	packed, err := message.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var seen ttlSeen
	seen.note([]byte("not a message"))
	seen.note(packed)
	seen.note(packed[:len(packed)-5])
	if seen.ttl() != 20*time.Second {
		t.Errorf("ttl() = %s, want 20s", seen.ttl())
	}
}

// The TTL that the server tells is the one that counts.
func TestLookupTellsTTL(t *testing.T) {
	server := startUDPBackend(t, func(conn net.PacketConn, from net.Addr, question []byte) {
		var m dnsmessage.Message
		if err := m.Unpack(question); err != nil {
			t.Error(err)
			return
		}
		m.Response, m.Additionals = true, nil
		header := func(name string, ttl uint32, kind dnsmessage.Type) dnsmessage.ResourceHeader {
			return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}
		}
		m.Answers = []dnsmessage.Resource{
			{Header: header("app.test.", 77, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("host.test.")}},
			{Header: header("host.test.", 300, dnsmessage.TypeA), Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 7}}},
		}
		answer, err := m.Pack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.WriteTo(answer, from)
	})
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, server)
	}
	addrs, ttl, err := lookupBy(t.Context(), "app.test.", dial)
	if err != nil || len(addrs) != 1 || addrs[0].String() != "10.0.0.7" || ttl != 77*time.Second {
		t.Errorf("%v for %v, %v; want 10.0.0.7 for 77s", addrs, ttl, err)
	}
}

// "localhost" is in every hosts file.
func TestForwardToName(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{
		Name: "named", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, fmt.Sprintf("localhost:%d", portOf(t, to))), Access: acl.AllowAll(),
	}}})
	s.log.waitFor(t, `msg="backend name resolved"`, "addresses=[127.0.0.1]")
	conn := mustDial(t, s.at(t, "::1"))
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
