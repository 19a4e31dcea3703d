package proxy

import (
	"net"
	"strings"
	"testing"
	"time"

	"genkan/acl"
)

// Whose word counts, read in the one header named, from right to left.
func TestSiteTrust(t *testing.T) {
	site := func(listen, header string, from ...acl.Prefix) Site {
		return Site{
			Name: "a.test", Listen: mustListen(t, listen), To: mustBackend(t, startWeb(t, "b")),
			Access: mustRules(t, "allow 203.0.113.0/24 2001:db8::/32"), Trust: Trust{From: from, Header: header},
		}
	}
	trusted := mustPrefix(t, "127.0.0.0/8")
	inner := mustPrefix(t, "10.0.0.0/8")
	s := start(t, Config{Sites: []Site{
		site("127.0.0.1:0", "", trusted, inner),
		{Name: "b.test", Listen: mustListen(t, "127.0.0.2:0"), To: mustBackend(t, startWeb(t, "b")), Access: mustRules(t, "allow 203.0.113.0/24 2001:db8::/32"), Trust: Trust{From: []acl.Prefix{trusted, inner}, Header: "forwarded"}},
		{Name: "c.test", Listen: mustListen(t, "127.0.0.3:0"), To: mustBackend(t, startWeb(t, "b")), Access: mustRules(t, "allow 203.0.113.0/24 2001:db8::/32")},
	}})
	for _, row := range []struct{ verdict, host, at, header, client string }{
		{"allow", "a.test", "127.0.0.1", "X-Forwarded-For: 203.0.113.7", "203.0.113.7"},
		{"allow", "a.test", "127.0.0.1", "X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.1.1.1", "203.0.113.7"},
		{"allow", "a.test", "127.0.0.1", "X-Forwarded-For: ::ffff:203.0.113.7", "203.0.113.7"},
		{"allow", "a.test", "127.0.0.1", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 2001:db8::1", "2001:db8::1"},
		{"deny", "a.test", "127.0.0.1", "X-Forwarded-For: 203.0.113.7, 198.51.100.9", ""},
		{"deny", "a.test", "127.0.0.1", "X-Forwarded-For: 203.0.113.07", ""},
		{"deny", "a.test", "127.0.0.1", "X_Forwarded_For: 203.0.113.7", ""},
		{"deny", "a.test", "127.0.0.1", "Forwarded: for=203.0.113.7", ""},
		{"deny", "a.test", "127.0.0.1", "X-Real-IP: 203.0.113.7", ""},
		{"bad", "a.test", "127.0.0.1", "X-Forwarded-For: " + strings.Repeat("10.0.0.1,", 150), ""},
		{"allow", "b.test", "127.0.0.2", `Forwarded: for="[2001:db8::1]:99";proto=https, for=10.0.0.1`, "2001:db8::1"},
		{"deny", "b.test", "127.0.0.2", "X-Forwarded-For: 203.0.113.7", ""},
		{"deny", "c.test", "127.0.0.3", "X-Forwarded-For: 203.0.113.7", ""},
	} {
		status, body := ask(t, s.at(t, row.at), "GET / HTTP/1.1\r\nHost: "+row.host+"\r\n"+row.header+"\r\n\r\n")
		want := map[string]int{"allow": 200, "deny": 403, "bad": 400}[row.verdict]
		if status != want || row.client != "" && !strings.Contains(body, "X-Forwarded-For: "+row.client+"\n") {
			t.Errorf("%s: %.60s: %d, the backend got %q", row.at, row.header, status, body)
		}
	}
}

// A trusted proxy tells also by what the client came to it.
func TestSiteTrustedScheme(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0", "[::1]:0"), To: mustBackend(t, startWeb(t, "b")),
		Access: acl.AllowAll(), Trust: Trust{From: []acl.Prefix{mustPrefix(t, "127.0.0.1")}},
	}}})
	for _, row := range []struct{ at, told, want string }{
		{"127.0.0.1", "https", "https"},
		{"127.0.0.1", "gopher", "http"},
		{"::1", "https", "http"},
	} {
		_, body := ask(t, s.at(t, row.at), "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: "+row.told+"\r\n\r\n")
		if !strings.Contains(body, "X-Forwarded-Proto: "+row.want+"\n") {
			t.Errorf("%s told %q: %s", row.at, row.told, body)
		}
	}
}

// A gate answers 429 and says when to come again; conns counts those inside.
func TestSiteGates(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")),
		Access: mustRules(t, "limit 2/1h", "allow all"),
	}}})
	for _, want := range []int{200, 200, 429} {
		if status, _ := ask(t, s.at(t, "127.0.0.1"), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
	s.log.waitFor(t, "msg=denied", "site=a.test", `rule="limit 2/1h"`, "at=genkan.toml:1:10")
}

func TestForwardConnsGate(t *testing.T) {
	to := startBackend(t, echo)
	s := start(t, Config{Forwards: []Forward{{
		Name: "f", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, to), Access: mustRules(t, "conns 1", "allow all"),
	}}})
	first := mustDial(t, s.at(t, "127.0.0.1"))
	first.Write([]byte("x"))
	first.Read(make([]byte, 1))
	wantReset(t, s.at(t, "127.0.0.1"))
	first.Close()
	poll(t, "the gate was not released", func() bool {
		conn, err := net.DialTimeout("tcp", s.at(t, "127.0.0.1"), patience)
		if err != nil {
			return false // reset at once
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		conn.Write([]byte("x"))
		_, err = conn.Read(make([]byte, 1))
		return err == nil
	})
}

func TestTrustErrors(t *testing.T) {
	to := mustBackend(t, "10.0.0.1:80")
	for _, row := range []struct {
		trust Trust
		want  string
	}{
		{Trust{From: []acl.Prefix{mustPrefix(t, "10.0.0.1")}, Header: "x-real-ip"}, `site "s": trust: "x-real-ip" is not a header that tells the client; write "x-forwarded-for" or "forwarded"`},
		{Trust{Header: "forwarded"}, `site "s": trust: header "forwarded" is believed from nobody; write whom to trust`},
	} {
		if _, err := New(Config{Sites: []Site{{Name: "s", To: to, Trust: row.trust}}}); err == nil || err.Error() != row.want {
			t.Errorf("%v, want %s", err, row.want)
		}
	}
}
