package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
	"genkan/proxy/proxyproto"
)

// On a listener with accept_proxy the header is required from those listed,
// and refused from others.
func TestAcceptProxy(t *testing.T) {
	to := startBackend(t, echo)
	listen := mustListen(t, "127.0.0.1:0", "[::1]:0")
	s := start(t, Config{
		Forwards: []Forward{{Name: "f", Listen: listen, To: mustBackend(t, to), Access: mustRules(t, "deny 203.0.113.0/24", "allow all")}},
		Listeners: []Listener{
			{Listen: listen[0], AcceptProxy: []acl.Prefix{mustPrefix(t, "127.0.0.0/8")}},
			{Listen: listen[1], AcceptProxy: []acl.Prefix{mustPrefix(t, "192.0.2.0/24")}},
		},
		Timeouts: Timeouts{Header: 100 * time.Millisecond},
	})
	v2, err := proxyproto.Append(nil, 2, netip.MustParseAddrPort("[2001:db8::7]:1"), netip.MustParseAddrPort("[2001:db8::8]:22"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, host, sent, want, log string }{
		{"v1", "127.0.0.1", "PROXY TCP6 2001:db8::7 2001:db8::8 1111 22\r\nhello", "hello", "client=2001:db8::7 "},
		{"v1-mapped", "127.0.0.1", "PROXY TCP6 ::ffff:198.51.100.7 ::ffff:192.0.2.1 1111 22\r\nhello", "hello", "client=198.51.100.7 "},
		{"v2", "127.0.0.1", string(v2) + "hello", "hello", "client=2001:db8::7 "},
		{"unknown", "127.0.0.1", "PROXY UNKNOWN\r\nhello", "hello", "client=127.0.0.1 "},
		{"denied", "127.0.0.1", "PROXY TCP4 203.0.113.7 192.0.2.1 1111 22\r\nhello", "reset", "client=203.0.113.7 "},
		{"none", "127.0.0.1", "hello, no header at all", "reset", "sent no PROXY header"},
		{"silent", "127.0.0.1", "PROX", "reset", "no whole PROXY header in 100ms"},
		{"stranger", "::1", "hello", "hello", "client=::1 "},
		{"stranger-v1", "::1", "PROXY TCP4 203.0.113.7 192.0.2.1 1111 22\r\nhello", "reset", "accept_proxy does not name"},
		{"stranger-v2", "::1", string(v2) + "hello", "reset", "accept_proxy does not name"},
		{"stranger-post", "::1", "POST", "POST", "client=::1 "},
	} {
		conn := mustDial(t, s.at(t, row.host))
		io.WriteString(conn, row.sent)
		got := make([]byte, len(row.want))
		_, err := io.ReadFull(conn, got)
		text := string(got)
		if errors.Is(err, unix.ECONNRESET) {
			text = "reset"
		}
		conn.Close()
		if text != row.want {
			t.Errorf("%s: got %q, %v, want %q", row.name, got, err, row.want)
		}
		s.log.waitFor(t, row.log)
	}
	poll(t, "slots were not given back", func() bool { return s.Stats().Open == 0 })
}

// A server that speaks first is not kept from it by accept_proxy.
func TestAcceptProxyServerFirst(t *testing.T) {
	to := startBackend(t, func(conn *net.TCPConn) { io.WriteString(conn, "220 banner") })
	listen := mustListen(t, "[::1]:0")
	s := start(t, Config{
		Forwards:  []Forward{{Name: "f", Listen: listen, To: mustBackend(t, to), Access: acl.AllowAll()}},
		Listeners: []Listener{{Listen: listen[0], AcceptProxy: []acl.Prefix{mustPrefix(t, "192.0.2.0/24")}}},
	})
	conn := mustDial(t, s.at(t, "::1"))
	got := make([]byte, 10)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "220 banner" {
		t.Errorf("%q, %v", got, err)
	}
}

// HTTP behind a proxy that announces: rules and X-Forwarded-For know the client.
func TestAcceptProxySite(t *testing.T) {
	listen := mustListen(t, "127.0.0.1:0")
	s := start(t, Config{
		Sites:     []Site{{Name: "a.test", Listen: listen, To: mustBackend(t, startWeb(t, "b")), Access: mustRules(t, "allow 2001:db8::/32")}},
		Listeners: []Listener{{Listen: listen[0], AcceptProxy: []acl.Prefix{mustPrefix(t, "127.0.0.1")}}},
	})
	_, body := ask(t, s.at(t, "127.0.0.1"), "PROXY TCP6 2001:db8::7 2001:db8::8 1111 80\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if !strings.Contains(body, "X-Forwarded-For: 2001:db8::7\n") {
		t.Errorf("the backend got %q", body)
	}
}

// readHeader takes the PROXY header off a backend's connection, and answers
// with it.
func readHeader(conn *net.TCPConn) {
	h, err := proxyproto.Read(conn, patience)
	if err != nil {
		fmt.Fprint(conn, err)
		return
	}
	fmt.Fprintf(conn, "v%d %s", h.Version, h.Source.Addr())
	for _, tlv := range h.TLVs {
		switch tlv.Type {
		case tlvUniqueID:
			fmt.Fprintf(conn, " id=%d", len(tlv.Value))
		case tlvClient:
			fmt.Fprintf(conn, " client=%s", netip.AddrFrom16([16]byte(tlv.Value[:16])))
		default:
			fmt.Fprintf(conn, " %d=%s", tlv.Type, tlv.Value)
		}
	}
	conn.CloseWrite()
}

func TestAnnounce(t *testing.T) {
	to := mustBackend(t, startBackend(t, readHeader))
	forward := func(host, announce, address string) Forward {
		return Forward{
			Name: announce + address + host, Listen: mustListen(t, host+":0"), To: to, Access: acl.AllowAll(),
			Announce: []string{announce}, AnnounceAddress: address,
		}
	}
	s := start(t, Config{
		Pools: []Pool{{Name: "default", Prefix: mustPrefix(t, "127.67.0.0/16")}},
		Forwards: []Forward{
			forward("[::1]", "proxy-v1", ""),
			forward("127.0.0.1", "proxy-v1", ""),
			forward("127.0.0.2", "proxy-v2", "pool"),
		},
	})
	hear := func(at string) string {
		conn := mustDial(t, at)
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		return string(got)
	}
	for host, want := range map[string]string{"::1": "v1 ::1", "127.0.0.1": "v1 127.0.0.1", "127.0.0.2": "v2 127.0.0.1 id=16"} {
		if got := hear(s.at(t, host)); got != want {
			t.Errorf("%s: the backend heard %q, want %q", host, got, want)
		}
	}
	s.stop()
	s = start(t, Config{
		Pools:    []Pool{{Name: "default", Prefix: mustPrefix(t, "127.67.0.0/16")}},
		Forwards: []Forward{forward("[::1]", "proxy-v2", "pool")},
	})
	if got, want := hear(s.at(t, "::1")), "v2 127.67.0.1 id=16 client=::1"; got != want {
		t.Errorf("the backend heard %q, want %q", got, want)
	}
	s.log.waitFor(t, "msg=connection", "client=::1", "id=")
}

func TestAnnounceUDP(t *testing.T) {
	to := startUDPBackend(t, func(conn net.PacketConn, from net.Addr, datagram []byte) {
		h, n, err := proxyproto.Parse(datagram)
		fmt.Fprint(writerTo{conn, from}, h.Source.Addr(), " ", datagram[13], " ", string(datagram[n:]), " ", err)
	})
	s := start(t, Config{Forwards: []Forward{{
		Name: "dns", Listen: mustListen(t, "udp/[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Protocol: "dns", Announce: []string{"proxy-v2"},
	}}})
	conn := dialUDP(t, s.at(t, "::1"))
	for range 3 {
		if got, want := askUDP(t, conn, "question"), "::1 34 question <nil>"; got != want {
			t.Errorf("the backend heard %q, want %q", got, want)
		}
	}
}

type writerTo struct {
	net.PacketConn
	to net.Addr
}

func (w writerTo) Write(p []byte) (int, error) { return w.WriteTo(p, w.to) }

// TLS is routed by name; a slow and fragmented ClientHello too.
func TestSNI(t *testing.T) {
	named := func(name string) []Backend {
		return mustBackend(t, startBackend(t, func(conn *net.TCPConn) {
			first := make([]byte, 1)
			io.ReadFull(conn, first)
			fmt.Fprintf(conn, "%s got %#x", name, first)
			conn.CloseWrite()
			io.Copy(io.Discard, struct{ io.Reader }{conn})
		}))
	}
	listen := mustListen(t, "[::1]:0")
	names := []Forward{
		{Name: "www", SNI: []string{"www.example.jp"}, Listen: listen, To: named("www"), Access: acl.AllowAll()},
		{Name: "wild", SNI: []string{"*.Example.JP"}, Listen: append(listen, mustListen(t, "127.0.0.1:0")...), To: named("wild"), Access: acl.AllowAll()},
	}
	s := start(t, Config{
		Forwards: append(names, Forward{Name: "rest", Listen: listen, To: named("rest"), Access: acl.AllowAll()}),
		Timeouts: Timeouts{Header: 300 * time.Millisecond},
	})
	say := func(host string, chunks ...[]byte) string {
		conn := mustDial(t, s.at(t, host))
		defer conn.Close()
		for _, chunk := range chunks {
			conn.Write(chunk)
		}
		got, err := io.ReadAll(conn)
		if err != nil {
			return "reset"
		}
		return string(got)
	}
	var slow [][]byte
	for _, b := range clientHello(t, "www.example.jp") {
		slow = append(slow, []byte{b})
	}
	for _, row := range []struct {
		name, host string
		chunks     [][]byte
		want       string
	}{
		{"exact", "::1", [][]byte{clientHello(t, "www.example.jp")}, "www got 0x16"},
		{"slow", "::1", slow, "www got 0x16"},
		{"wildcard", "::1", [][]byte{clientHello(t, "a.b.example.jp")}, "wild got 0x16"},
		{"other", "::1", [][]byte{clientHello(t, "example.net")}, "rest got 0x16"},
		{"no-name", "::1", [][]byte{clientHello(t, "")}, "rest got 0x16"},
		{"no-tls", "::1", [][]byte{[]byte("SSH-2.0-x\r\n")}, "rest got 0x53"},
		{"other-without-default", "127.0.0.1", [][]byte{clientHello(t, "example.net")}, "reset"},
		{"no-tls-without-default", "127.0.0.1", [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")}, "reset"},
		{"unfinished", "::1", [][]byte{clientHello(t, "www.example.jp")[:50]}, "reset"},
	} {
		if got := say(row.host, row.chunks...); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
	s.log.waitFor(t, `msg="connection refused"`, `cause="no forward for this name"`, "sni=example.net")
	s.log.waitFor(t, `msg="connection refused"`, `cause="no whole TLS ClientHello"`, "waited=")
}

// clientHello is the first flight of crypto/tls.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}).HandshakeContext(t.Context())
	}()
	hello := make([]byte, 16<<10)
	n, err := server.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	return hello[:n]
}

func TestAnnounceErrors(t *testing.T) {
	to := mustBackend(t, "10.0.0.1:80")
	for _, row := range []struct {
		forward Forward
		want    string
	}{
		{Forward{Announce: []string{"proxy-v1", "proxy-v2"}}, `forward "f": announce ["proxy-v1" "proxy-v2"]: a client is announced once; write one of them`},
		{Forward{Announce: []string{"proxy-v1"}, Listen: mustListen(t, "udp/:53")}, `forward "f": announce "proxy-v1" is for TCP only; write "proxy-v2"`},
		{Forward{AnnounceAddress: "mapped"}, `forward "f": announce_address "mapped" is neither "client" nor "pool"`},
		{Forward{SNI: []string{"a.test", "A.test."}, Listen: mustListen(t, ":443")}, "forward \"f\": host \"a.test\" is given twice on one listener\nforward \"f\": host \"a.test\" is given twice on one listener"},
		{Forward{SNI: []string{"a.test"}, Listen: mustListen(t, "udp/[::]:443")}, `forward "f": listen "udp/[::]:443": sni is for TCP`},
	} {
		row.forward.Name, row.forward.To = "f", to
		if _, err := New(Config{Forwards: []Forward{row.forward}}); err == nil || err.Error() != row.want {
			t.Errorf("%+v: %v\nwant %s", row.forward.Announce, err, row.want)
		}
	}
}
