package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"genkan/acl"
)

func TestParseListen(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"tunnel:80", "tunnel:80"},
		{"udp/tunnel:53", "udp/tunnel:53"},
		{"tcp/:80", ":80"},
		{":0", ":0"},
		{"[2001:DB8::1]:443", "[2001:db8::1]:443"},
		{"[::]:80", "[::]:80"},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1:80"},
		{"[fe80::1%eth0]:80", "[fe80::1%eth0]:80"},
		{"192.0.2.1:50000-50009", "192.0.2.1:50000-50009"},
		{"tunnel:50000-50000", "tunnel:50000"},
	} {
		l, err := ParseListen(row.text)
		if err != nil || l.String() != row.want {
			t.Errorf("ParseListen(%q) = %q, %v, want %q", row.text, l, err, row.want)
			continue
		}
		if again, err := ParseListen(l.String()); err != nil || again != l {
			t.Errorf("ParseListen(%q) = %v, %v, want it back", l, again, err)
		}
	}
}

func TestParseListenErrors(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"sctp/:80", `"sctp/:80": unknown network "sctp"; write "tcp/" or "udp/" before the address, or nothing for TCP`},
		{"example.com:80", `"example.com:80": "example.com" is not an address; write "tunnel", an IPv4 address, an IPv6 address in brackets, or nothing for both families`},
		{"[ff02::1]:80", `"[ff02::1]:80": "ff02::1" is a multicast address; write one of this machine's own`},
		{"[fe80::1]:80", `"[fe80::1]:80": each interface has link-local addresses of its own; write which, as "[fe80::1%eth0]:80"`},
		{":90-80", `":90-80": port range runs backwards; write "80-90"`},
		{":1-65535", `":1-65535": port range has 65535 ports; at most 4096 are allowed`},
		{":0-9", `":0-9": a port range does not begin with 0`},
		{":80-http", `":80-http": port "http" is not a number up to 65535`},
	} {
		if l, err := ParseListen(row.text); err == nil || err.Error() != row.want {
			t.Errorf("ParseListen(%q) = %v, %v\nwant %s", row.text, l, err, row.want)
		}
	}
	for _, text := range []string{"", "80", "::1:80", "[::1]", "127.1:80", "[127.0.0.1]:80", ":+80", ":65536", " :80", "*:80"} {
		if l, err := ParseListen(text); err == nil {
			t.Errorf("ParseListen(%q) = %v, want an error", text, l)
		}
	}
}

func TestParseBackend(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"10.0.0.10:8080", "10.0.0.10:8080"},
		{"App.Internal.:80", "app.internal:80"},
		{"10.0.0.13:50000-50009", "10.0.0.13:50000-50009"},
		{"[::ffff:10.0.0.1]:80", "10.0.0.1:80"},
	} {
		if b, err := ParseBackend(row.text); err != nil || b.String() != row.want {
			t.Errorf("ParseBackend(%q) = %q, %v, want %q", row.text, b, err, row.want)
		}
	}
	for _, row := range []struct{ text, want string }{
		{"[2001:db8::1]:80", `"[2001:db8::1]:80": backends are IPv4 only; write the server's IPv4 address`},
		{":80", `":80": address missing; write "127.0.0.1:80" for this machine`},
		{"10.0.0.1:0", `"10.0.0.1:0": a backend has no port 0; write the port that it listens on`},
		{"tunnel:80", `"tunnel:80": the tunnel is where clients come from, not a backend; write the server's IPv4 address`},
	} {
		if b, err := ParseBackend(row.text); err == nil || err.Error() != row.want {
			t.Errorf("ParseBackend(%q) = %v, %v\nwant %s", row.text, b, err, row.want)
		}
	}
}

// One socket a family: [::] takes no IPv4 client, ":" is two sockets.
func TestListenFamilies(t *testing.T) {
	to := startBackend(t, echo)
	port := portOf(t, unusedAddr(t))
	s := start(t, Config{Forwards: []Forward{{Name: "six", Listen: mustListen(t, fmt.Sprintf("[::]:%d", port)), To: mustBackend(t, to), Access: acl.AllowAll()}}})
	mustDial(t, fmt.Sprintf("[::1]:%d", port))
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		conn.Close()
		t.Error("a listener on [::] took an IPv4 client")
	}
	if want := []Port{{"tcp", port, port}}; fmt.Sprint(s.Ports()) != fmt.Sprint(want) {
		t.Errorf("Ports() = %v, want %v", s.Ports(), want)
	}
	both := start(t, Config{Forwards: []Forward{{Name: "both", Listen: mustListen(t, ":0"), To: mustBackend(t, to), Access: acl.AllowAll()}}})
	if len(both.Addrs()) != 2 {
		t.Errorf("\":0\" listens on %v, want two sockets", both.Addrs())
	}
}

// Addresses that are not there yet can be listened on.
func TestListenBeforeTheAddressExists(t *testing.T) {
	s := start(t, Config{
		Tunnel: mustAddr(t, "2001:db8::1"),
		Forwards: []Forward{{
			Name: "early", Listen: mustListen(t, "tunnel:4711", "192.0.2.77:4711", "127.0.0.5:4711"), To: mustBackend(t, unusedAddr(t)), Access: acl.AllowAll(),
		}},
	})
	for _, listener := range []string{"tcp/[2001:db8::1]:4711", "tcp/192.0.2.77:4711"} {
		s.log.waitFor(t, `msg="listening on an address that this machine does not have yet"`, "listener="+listener)
	}
	if strings.Contains(s.log.String(), "127.0.0.5") {
		t.Errorf("an address that is here was warned of:\n%s", s.log)
	}
}

func mustAddr(t *testing.T, text string) acl.Addr {
	t.Helper()
	addr, err := acl.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// A port in use is named with its holder, and nothing is left open.
func TestListenAllOrNothing(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		taken, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		s, err := New(Config{Forwards: []Forward{
			{Name: "taken", Listen: mustListen(t, taken.Addr().String()), To: mustBackend(t, unusedAddr(t)), Access: acl.AllowAll()},
			{Name: "free", Listen: mustListen(t, "127.0.0.3:0"), To: mustBackend(t, unusedAddr(t)), Access: acl.AllowAll()},
		}})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Listen()
		want := fmt.Sprintf("listen %q: port in use by %s (process ", taken.Addr(), taken.Addr())
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "); stop it, or listen on another address") {
			t.Errorf("Listen: %v\nwant %s…", err, want)
		}
		if len(s.Addrs()) != 0 {
			t.Errorf("left open: %v", s.Addrs())
		}
	}
}

// The kernel drops SYNs from mapped sources, so made-up peers have to do.
func TestMappedPeerIsHostile(t *testing.T) {
	for _, row := range []struct{ peer, want string }{
		{"10.1.2.3:1", "10.1.2.3:1"},
		{"[2001:db8::1]:1", "[2001:db8::1]:1"},
		{"[fe80::1%eth0]:1", "[fe80::1]:1"},
		{"[::ffff:10.1.2.3]:1", errMapped.Error()},
		{"[::10.1.2.3]:1", "[::a01:203]:1"},
	} {
		got, err := canonicalPeer(netip.MustParseAddrPort(row.peer))
		text := got.String()
		if err != nil {
			text = err.Error()
		}
		if text != row.want {
			t.Errorf("canonicalPeer(%s) = %s, want %s", row.peer, text, row.want)
		}
	}
}

// The interface by which a connection came in, from the accepted socket.
func TestViaTunnel(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	mustDial(t, ln.Addr().String())
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, row := range []struct {
		name string
		want bool
	}{{"lo", true}, {"", false}, {"nosuch0", false}, {"a-name-that-is-too-long", false}} {
		st := &state{config: Config{TunnelInterface: row.name}}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if got := st.viaTunnel(rawControl{raw}, netip.MustParseAddrPort("[::1]:1")); got != row.want {
			t.Errorf("viaTunnel with interface %q: %v, want %v", row.name, got, row.want)
		}
	}
}

// rawControl is a socket outside the pipe engine.
type rawControl struct{ syscall.RawConn }

func (c rawControl) Control(f func(uintptr)) { c.RawConn.Control(f) }
