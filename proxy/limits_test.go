package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"genkan/acl"
)

func TestCrowd(t *testing.T) {
	c := crowd{each: 2, open: map[netip.Prefix]int{}}
	addr := func(text string) acl.Addr { return acl.AddrFrom(netip.MustParseAddr(text)) }
	for i, row := range []struct {
		client string
		want   bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true},
		{"2001:db8:0:1::1", true}, {"2001:db8:0:1::2", true}, {"2001:db8:0:1::3", false},
		{"2001:db8:0:2::1", true}, {"2001:db8:0:2::1", true}, {"2001:db8:0:3::1", true}, {"2001:db8:0:3::1", true},
		{"2001:db8:0:4::1", true}, {"2001:db8:0:4::1", true}, {"2001:db8:0:5::1", false}, // 8 of one /48
		{"2001:db8:1:5::1", true},
	} {
		if got := c.enter(addr(row.client)); got != row.want {
			t.Errorf("%d: %s may enter: %t, want %t", i, row.client, got, row.want)
		}
	}
	c.leave(addr("2001:db8:0:4::1"))
	if !c.enter(addr("2001:db8:0:5::1")) {
		t.Error("no room after one has left")
	}
	for _, gone := range []string{
		"192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1", "2001:db8:0:2::1",
		"2001:db8:0:3::1", "2001:db8:0:3::1", "2001:db8:0:4::1", "2001:db8:0:5::1", "2001:db8:1:5::1",
	} {
		c.leave(addr(gone))
	}
	if len(c.open) > 0 {
		t.Errorf("left over: %v", c.open)
	}
}

// bitten gives how often a limit bit.
func (r running) bitten(name string) int64 {
	for _, l := range r.Stats().Limits {
		if l.Name == name {
			return l.Bites
		}
	}
	return -1
}

// wantBite waits for a limit to bite so often.
func (r running) wantBite(t *testing.T, name string, n int64) {
	t.Helper()
	poll(t, fmt.Sprintf("%s does not show %d in the metrics but %d", name, n, r.bitten(name)), func() bool { return r.bitten(name) == n })
}

// One client has its connections, over TCP and QUIC together; when one ends
// there is room again.
func TestClientConns(t *testing.T) {
	s, clients, addr := startFronts(t, startWeb(t, "b"), func(c *Config) { c.Limits.ClientConns = 2 })
	first, second := mustDial(t, addr), mustDial(t, addr)
	poll(t, "the connections are not counted", func() bool { return s.Stats().Open == 2 })
	wantReset(t, addr)
	h3 := clients[2]
	if _, err := h3.RoundTrip(mustGet(t, "https://a.test/")); err == nil {
		t.Error("a third connection, over QUIC, is let in")
	}
	s.wantBite(t, "client_conns", 2)
	first.Close()
	poll(t, "the end is not counted", func() bool { return s.Stats().Open == 1 })
	if resp := h3.ask(t, "GET", "/", nil, nil, nil); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if open := s.Stats().Open; open != 2 {
		t.Errorf("%d connections are open, want 2: HTTP/3's counts", open)
	}
	second.Close()
}

func mustGet(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// An exchange ends after its lifetime, in a way that the client can tell.
func TestRequestLifetime(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprintln(w, "tick")
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}))
	t.Cleanup(endless.Close)
	s, clients, _ := startFronts(t, strings.TrimPrefix(endless.URL, "http://"), func(c *Config) { c.Timeouts.Lifetime = 300 * time.Millisecond })
	for i, c := range clients {
		resp := c.ask(t, "GET", "/", nil, nil, nil)
		if n, err := io.Copy(io.Discard, resp.Body); n == 0 || err == nil {
			t.Errorf("%s: %d bytes, %v; want some, and an error", c.version, n, err)
		}
		s.wantBite(t, "lifetime", int64(i+1))
	}
}

// Content that trickles is answered 408.
func TestBodyRate(t *testing.T) {
	s, clients, _ := startFronts(t, startWeb(t, "b"), func(c *Config) { c.Timeouts.BodyGrace = 100 * time.Millisecond })
	for i, c := range clients {
		pr, pw := io.Pipe()
		go func() {
			for { // until the reader is gone
				if _, err := io.WriteString(pw, "x"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		resp, err := c.RoundTrip(postOf(t, pr))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusRequestTimeout {
				t.Errorf("%s: %d, want 408", c.version, resp.StatusCode)
			}
		}
		pr.Close()
		s.wantBite(t, "body_rate", int64(i+1))
	}
}

func postOf(t *testing.T, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Without memory requests are refused on connections that are there, which end
// by that, and nobody is accepted.
func TestMemory(t *testing.T) {
	s, clients, addr := startFronts(t, startWeb(t, "b"), nil)
	for _, c := range clients {
		if resp := c.ask(t, "GET", "/", nil, nil, nil); resp.StatusCode != 200 {
			t.Fatalf("%s: %d", c.version, resp.StatusCode)
		}
	}
	tight, clients, addr2 := startFronts(t, startWeb(t, "b"), func(c *Config) { c.Limits.Memory = 1 })
	tight.log.waitFor(t, "memory", "nobody is accepted")
	conn := mustDial(t, addr2) // by the kernel
	conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
		t.Errorf("%d %v: want nobody to answer", n, err)
	}
	if _, err := clients[2].RoundTrip(mustGet(t, "https://a.test/")); err == nil {
		t.Error("HTTP/3 is served")
	}
	if open := s.Stats().Open; open < 3 {
		t.Errorf("%d connections open on %s, want 3", open, addr)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// A request whose head is too much is answered 431, and counted.
func TestHeaderLimits(t *testing.T) {
	s := start(t, Config{
		Sites:  []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll()}},
		Limits: Limits{HeaderBytes: 2048, HeaderFields: 20},
	})
	for i, fields := range []string{strings.Repeat("a: b\r\n", 21), "a: " + strings.Repeat("x", 2100) + "\r\n"} {
		conn := mustDial(t, s.at(t, "::1"))
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.test\r\n"+fields+"\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 431 {
			t.Errorf("%v %v, want 431", resp, err)
		}
		s.wantBite(t, "header", int64(i+1))
	}
	if _, err := New(Config{Limits: Limits{Streams: -1}}); err == nil || err.Error() != `limit "streams" is negative (-1); leave it out for the default` {
		t.Errorf("%v", err)
	}
}

// A target and fields of more than 8 KiB, as of single sign-on, arrive where
// the operator says so.
func TestLineBytes(t *testing.T) {
	for limit, want := range map[int]string{0: "414 431", 20 << 10: "200 200"} {
		_, clients, _ := startFronts(t, startWeb(t, "b"), func(c *Config) { c.Limits.LineBytes = limit })
		long := strings.Repeat("x", 10<<10)
		for _, c := range clients {
			target := c.ask(t, "GET", "/"+long, nil, nil, nil).StatusCode
			field := c.ask(t, "GET", "/", nil, http.Header{"X-Token": {long}}, nil).StatusCode
			if got := fmt.Sprint(target, field); got != want {
				t.Errorf("%s with %d: %s, want %s", c.version, limit, got, want)
			}
		}
	}
}

// A connection over HTTP/3 goes on over a reload, and its next request is
// judged by the new rules.
func TestHTTP3SurvivesReload(t *testing.T) {
	var cfg Config
	s, clients, _ := startFronts(t, startWeb(t, "b"), func(c *Config) { cfg = *c })
	h3 := clients[2]
	if resp := h3.ask(t, "GET", "/", nil, nil, nil); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	accepted := s.Stats().IPv6.Accepted
	cfg.Sites[0].Access = mustRules(t, "deny all")
	if err := s.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if resp := h3.ask(t, "GET", "/", nil, nil, nil); resp.StatusCode != 403 {
		t.Errorf("status %d after the reload, want 403", resp.StatusCode)
	}
	if now := s.Stats().IPv6.Accepted; now != accepted {
		t.Errorf("%d connections, want the one of before", now)
	}
}
