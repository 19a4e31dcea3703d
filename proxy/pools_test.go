package proxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/acl"
)

func mustPrefix(t *testing.T, text string) acl.Prefix {
	t.Helper()
	p, err := acl.ParsePrefix(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tellPeer answers with the address that the backend sees.
func tellPeer(conn *net.TCPConn) {
	fmt.Fprint(conn, conn.RemoteAddr().(*net.TCPAddr).IP)
}

// The addresses are of 127.0.0.0/8, where no route is needed.
func TestForwardSourcePool(t *testing.T) {
	to := startBackend(t, tellPeer)
	config := Config{
		Pools: []Pool{{Name: "default", Prefix: mustPrefix(t, "127.64.0.0/16")}},
		Forwards: []Forward{{
			Name: "ssh", Listen: mustListen(t, "[::1]:0", "127.0.0.1:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Source: SourcePool,
		}},
		StateDir: t.TempDir(),
	}
	s := start(t, config)
	seen := func(s running, host string) string {
		conn := mustDial(t, s.at(t, host))
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		return string(got)
	}
	six, four := seen(s, "::1"), seen(s, "127.0.0.1")
	if six != "127.64.0.1" || four != "127.64.0.2" || seen(s, "::1") != six {
		t.Errorf("the backend saw %s and %s", six, four)
	}
	s.log.waitFor(t, `msg="pool mapping"`, "pool=default", "address=127.64.0.1", "client=::/64")
	s.log.waitFor(t, "msg=connection", "client=::1", "source=127.64.0.1")
	if m, ok := s.Pool("default").Where(mustAddr(t, "::1"), time.Now()); !ok || m.Addr.String() != six {
		t.Errorf("Where(::1) = %+v, %v", m, ok)
	}
	poll(t, "leases were not released", func() bool { return s.Pool("default").Stats().Open == 0 })
	if err := s.Apply(config); err != nil {
		t.Fatal(err)
	}
	if got := seen(s, "127.0.0.1"); got != four {
		t.Errorf("after a reload the backend saw %s, before %s", got, four)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, config)
	if got := seen(again, "127.0.0.1"); got != four {
		t.Errorf("after a restart the backend saw %s, before %s", got, four)
	}
}

// Checks come from an address that no client has: what a server does to who
// connects and says nothing (sshd's penalties) hits nobody.
func TestChecksHaveTheirOwnSource(t *testing.T) {
	seen := make(chan string, 100)
	to := startBackend(t, func(conn *net.TCPConn) {
		seen <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
		tellPeer(conn)
	})
	s := start(t, Config{
		Pools: []Pool{{Name: "default", Prefix: mustPrefix(t, "127.68.0.0/16")}},
		Forwards: []Forward{{
			Name: "ssh", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Source: SourcePool,
			Check: Check{Interval: time.Hour},
		}},
	})
	probe := s.Pool("default").Probe().String()
	if got := <-seen; got != probe {
		t.Errorf("the check came from %s, want %s", got, probe)
	}
	client, err := io.ReadAll(mustDial(t, s.at(t, "::1")))
	if err != nil || string(client) != "127.68.0.1" || string(client) == probe {
		t.Errorf("the client came from %s (%v), want 127.68.0.1", client, err)
	}
}

// A full pool lets nobody in under another's address.
func TestForwardPoolExhausted(t *testing.T) {
	to := startBackend(t, tellPeer)
	s := start(t, Config{
		Pools: []Pool{{Name: "default", Prefix: mustPrefix(t, "127.64.0.0/29"), Per48: 1}},
		Forwards: []Forward{{
			Name: "ssh", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Source: SourcePool,
		}},
	})
	for i := range 5 {
		if _, err := s.Pool("default").Lease(mustAddr(t, fmt.Sprintf("192.0.2.%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	wantReset(t, s.at(t, "127.0.0.1"))
	s.log.waitFor(t, "msg=denied", "forward=ssh", "client=127.0.0.1", `why="pool-exhausted: pool exhausted: \"default\"`)
	poll(t, "not counted, or the slot not given back", func() bool {
		st := s.Stats()
		return st.Services[0].Failed == 1 && st.Open == 0
	})
}

func TestSitePseudoIPv4(t *testing.T) {
	s := start(t, Config{
		Pools: []Pool{{Name: "web", Prefix: mustPrefix(t, "127.65.0.0/16")}},
		Sites: []Site{{
			Name: "a.test", Listen: mustListen(t, "[::1]:0", "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(),
			Announce: []string{"pseudo-ipv4"}, PseudoHeader: "Cf-Pseudo-Ipv4", Pool: "web",
		}},
	})
	for _, row := range []struct{ host, want string }{{"::1", "127.65.0.1\nX-Client-Ipv6: ::1"}, {"127.0.0.1", "127.0.0.1"}} {
		_, body := ask(t, s.at(t, row.host), "GET / HTTP/1.1\r\nHost: a.test\r\ncf_pseudo_ipv4: 10.6.6.6\r\nX-Client-IPv6: 2001:db8::6\r\n\r\n")
		if want := "backend b\nGET / host=a.test body=\"\"\nCf-Pseudo-Ipv4: " + row.want + "\n"; body != want {
			t.Errorf("from %s the backend got %q, want %q", row.host, body, want)
		}
	}
}

func TestPoolErrors(t *testing.T) {
	to := mustBackend(t, "10.0.0.1:80")
	one := Pool{Name: "a", Prefix: mustPrefix(t, "10.9.0.0/16")}
	for _, row := range []struct {
		name   string
		config Config
		want   string
	}{
		{"missing", Config{Forwards: []Forward{{Name: "f", To: to, Source: SourcePool}}}, `forward "f": there is no pool "default"; write [pool.default] with prefix = "100.64.0.0/16"`},
		{"missing-pseudo", Config{Sites: []Site{{Name: "s", To: to, Announce: []string{"pseudo-ipv4"}, Pool: "x"}}}, `site "s": there is no pool "x"; write [pool.x] with prefix = "100.64.0.0/16"`},
		{"overlap", Config{Pools: []Pool{one, {Name: "b", Prefix: mustPrefix(t, "10.9.1.0/24")}}}, `pool "b": prefix "10.9.1.0/24" overlaps pool "a" ("10.9.0.0/16")`},
		{"transparent-name", Config{TransparentBy: TransparentByPort, Forwards: []Forward{{Name: "f", To: mustBackend(t, "app.internal:80"), Source: SourceTransparent}}}, `forward "f": to "app.internal:80": transparent_by = "port" knows a backend by its address; write that, or transparent_by = "socket"`},
		{"six", Config{Pools: []Pool{{Name: "a", Prefix: mustPrefix(t, "2001:db8::/64")}}}, `pool "a": prefix "2001:db8::/64": write an IPv4 prefix from /8 to /29, such as "100.64.0.0/16"`},
	} {
		if _, err := New(row.config); err == nil || err.Error() != row.want {
			t.Errorf("%s: %v\nwant %s", row.name, err, row.want)
		}
	}
}

// The route comes and goes with the pool, and what was there before stays.
func TestRouteLocally(t *testing.T) {
	inNetns(t)
	prefix := netip.MustParsePrefix("100.64.0.0/16")
	count := func() int {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range routes {
			if r.Dst != nil && r.Dst.String() == prefix.String() {
				n++
			}
		}
		return n
	}
	undo, err := routeLocally(prefix)
	if err != nil || count() != 1 {
		t.Fatalf("%v, %d routes", err, count())
	}
	adopted, err := routeLocally(prefix) // after a kill
	if err != nil || count() != 1 {
		t.Fatalf("again: %v, %d routes", err, count())
	}
	if err := adopted(); err != nil || count() != 0 {
		t.Fatalf("undone: %v, %d routes", err, count())
	}
	if err := undo(); err != nil {
		t.Errorf("undone twice: %v", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{
		LinkIndex: 1, Dst: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(16, 32)},
		Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
	}); err != nil {
		t.Fatal(err)
	}
	if undo, err = routeLocally(prefix); err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil || count() != 1 {
		t.Errorf("the operator's route: %v, %d routes", err, count())
	}
}

// inNetns moves the test's thread into a network namespace of its own, which
// goes with the thread.
func inNetns(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
	runtime.LockOSThread() // never unlocked: the runtime ends the thread with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
}

// missing skips for want of what, which is a failure where all is required.
func missing(t *testing.T, what string) {
	t.Helper()
	if strings.EqualFold(os.Getenv("GENKAN_REQUIRE"), "all") {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}
