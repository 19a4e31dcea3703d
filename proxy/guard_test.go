package proxy

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"genkan/acl"
	"genkan/proxy/descriptors"
)

func TestGuard(t *testing.T) {
	open := guard{own: []endpoint{
		{"tcp", netip.MustParseAddrPort("0.0.0.0:80")},
		{"tcp", netip.MustParseAddrPort("[::]:81")},
		{"tcp", netip.MustParseAddrPort("192.0.2.1:82")},
		{"udp", netip.MustParseAddrPort("127.0.0.1:53")},
	}}
	listed := guard{allowed: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("169.254.1.0/24")}}
	shut := guard{allowed: []netip.Prefix{}}
	for _, row := range []struct {
		guard *guard
		addr  string
		want  string // part of the error; empty: allowed
	}{
		{&open, "10.0.0.1:80", ""},
		{&open, "127.0.0.1:80", "our own listener"},
		{&open, "127.9.9.9:80", "our own listener"},
		{&open, "127.0.0.1:81", ""},
		{&open, "192.0.2.1:82", "our own listener"},
		{&open, "192.0.2.2:82", ""},
		{&open, "127.0.0.1:53", ""}, // TCP here, UDP there
		{&open, "169.254.169.254:80", "metadata"},
		{&open, "0.0.0.0:8080", "this machine itself"},
		{&open, "0.1.2.3:8080", "this machine itself"},
		{&open, "224.0.0.1:8080", "multicast"},
		{&open, "255.255.255.255:8080", "broadcast"},
		{&open, "[2001:db8::1]:8080", "IPv4 only"},
		{&open, "[::ffff:10.0.0.1]:8080", "IPv4 only"},
		{&open, "[::1]:8080", "IPv4 only"},
		{&listed, "10.255.0.1:80", ""},
		{&listed, "11.0.0.1:80", `outside "backends"`},
		{&listed, "169.254.1.1:80", ""},
		{&listed, "169.254.169.254:80", `outside "backends"`},
		{&shut, "10.0.0.1:80", `outside "backends"`},
	} {
		err := row.guard.check("tcp", netip.MustParseAddrPort(row.addr))
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("check(%s): %v, want %q", row.addr, err, row.want)
		}
	}
}

// The check is of the address really dialled.
func TestGuardInDialer(t *testing.T) {
	g := guard{allowed: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, bounds: descriptors.Now()}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := g.dialTCP(ctx, netip.MustParseAddrPort(startBackend(t, echo)), source{})
	if err == nil {
		conn.Close()
		t.Fatal("dialled an address outside \"backends\"")
	}
	if want := `127.0.0.1 is outside "backends"; add its network there`; cause(err).Error() != want {
		t.Errorf("%v, want %s", cause(err), want)
	}
}

func TestNewErrors(t *testing.T) {
	listen, to := mustListen(t, "127.0.0.1:7080"), mustBackend(t, "10.0.0.1:80")
	forward := Forward{Name: "f", Listen: listen, To: to, Access: acl.AllowAll()}
	site := Site{Name: "s.test", Listen: listen, To: to, Access: acl.AllowAll()}
	with := func(change func(*Forward)) Config {
		f := forward
		change(&f)
		return Config{Forwards: []Forward{f}}
	}
	for _, row := range []struct {
		name   string
		config Config
		want   string
	}{
		{"loop", with(func(f *Forward) { f.To = mustBackend(t, "127.0.0.1:7080") }), `forward "f": to "127.0.0.1:7080": 127.0.0.1:7080 is our own listener: this would be a loop`},
		{"admin", Config{Forwards: []Forward{{Name: "f", Listen: listen, To: mustBackend(t, "127.0.0.1:6464")}}, Refuse: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:6464")}}, `forward "f": to "127.0.0.1:6464": 127.0.0.1:6464 is our own listener: this would be a loop`},
		{"metadata", with(func(f *Forward) { f.To = mustBackend(t, "169.254.169.254:80") }), `forward "f": to "169.254.169.254:80": 169.254.0.0/16 is link-local: metadata services live there; name its network in "backends" if this is meant`},
		{"no-tunnel", with(func(f *Forward) { f.Listen = mustListen(t, "tunnel:22") }), `forward "f": listen "tunnel:22": there is no tunnel; write [tunnel] or another address`},
		{"no-backend", with(func(f *Forward) { f.To = nil }), `forward "f": no backend; write to = "ADDRESS:PORT"`},
		{"announce", with(func(f *Forward) { f.Announce = []string{"proxy-v3"} }), `forward "f": announce "proxy-v3" is none of ["proxy-v1" "proxy-v2" "xclient"]`},
		{"ranges", with(func(f *Forward) { f.To = mustBackend(t, "10.0.0.1:80-89") }), `forward "f": listen "127.0.0.1:7080" and to "10.0.0.1:80-89" have different numbers of ports; write ranges of the same length, or one port in "to"`},
		{"two-forwards", Config{Forwards: []Forward{forward, {Name: "g", Listen: listen, To: to}}}, `forward "g": listen "127.0.0.1:7080": forward "f" has it already`},
		{"site-and-forward", Config{Forwards: []Forward{forward}, Sites: []Site{site}}, `forward "f": listen "127.0.0.1:7080": a site has it already`},
		{"wildcard", with(func(f *Forward) { f.Listen = mustListen(t, ":7080", "127.0.0.1:7080") }), `listen "127.0.0.1:7080": ":7080" has that port on all addresses; write one of them`},
		{"same-host", Config{Sites: []Site{site, {Name: "t", Hosts: []string{"S.test"}, Listen: listen, To: to}}}, `site "t": host "s.test" is given twice on one listener`},
		{"host", Config{Sites: []Site{{Name: "http://s.test/", Listen: listen, To: to}}}, `site "http://s.test/": host "http://s.test/" is not a name, "*.NAME" or "default"; write it without scheme, port and path`},
		{"pseudo-header", Config{Sites: []Site{{Name: "s.test", Listen: listen, To: to, PseudoHeader: "A\r\nB"}}}, `site "s.test": pseudo_header "A\r\nB" cannot carry an address; write a name such as "Pseudo-IPv4"`},
		{"pseudo-length", Config{Sites: []Site{{Name: "s.test", Listen: listen, To: to, PseudoHeader: "content-length"}}}, `site "s.test": pseudo_header "content-length" cannot carry an address; write a name such as "Pseudo-IPv4"`},
		{"listener", Config{Listeners: []Listener{{Listen: listen[0]}}}, `listener "127.0.0.1:7080": no site or forward listens there`},
		{"listener-udp", Config{
			Forwards:  []Forward{{Name: "f", Listen: mustListen(t, "udp/[::1]:7080"), To: to}},
			Listeners: []Listener{{Listen: mustListen(t, "udp/[::1]:7080")[0], AcceptProxy: []acl.Prefix{mustPrefix(t, "10.9.0.0/24")}}},
		}, `listener "udp/[::1]:7080": accept_proxy: the PROXY protocol is taken over TCP only; take it away`},
		{"timeout", Config{Timeouts: Timeouts{Dial: -time.Second}}, `timeout "dial" is negative (-1s); write how long to wait, or leave it out for 5s`},
	} {
		if _, err := New(row.config); err == nil || err.Error() != row.want {
			t.Errorf("%s: %v\nwant %s", row.name, err, row.want)
		}
	}
}
