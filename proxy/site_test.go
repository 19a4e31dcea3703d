package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"genkan/acl"
)

// startWeb runs an HTTP backend that answers with its name and the request
// as it came.
func startWeb(t *testing.T, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "backend %s\n%s %s host=%s body=%q\n", name, r.Method, r.RequestURI, r.Host, body)
		var lines []string
		for field, values := range r.Header {
			for _, value := range values {
				lines = append(lines, field+": "+value)
			}
		}
		slices.Sort(lines)
		fmt.Fprint(w, strings.Join(lines, "\n"), "\n")
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// ask sends raw bytes and reads until the connection is closed by the
// other side or for so long that nothing more will come.
func ask(t *testing.T, addr, raw string) (status int, body string) {
	t.Helper()
	conn := mustDial(t, addr)
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestSiteRouting(t *testing.T) {
	listen := mustListen(t, "[::1]:0")
	s := start(t, Config{Sites: []Site{
		{Name: "www.example.jp", Listen: listen, To: mustBackend(t, startWeb(t, "www")), Access: acl.AllowAll()},
		{Name: "wild", Hosts: []string{"*.example.jp", "Example.NET"}, Listen: listen, To: mustBackend(t, startWeb(t, "wild")), Access: acl.AllowAll()},
		{Name: "deep", Hosts: []string{"*.a.example.jp", "[2001:DB8::1]"}, Listen: listen, To: mustBackend(t, startWeb(t, "deep")), Access: acl.AllowAll()},
	}})
	for _, row := range []struct {
		host   string
		status int
		want   string
	}{
		{"www.example.jp", 200, "www"},
		{"WWW.Example.JP", 200, "www"},
		{"www.example.jp.", 200, "www"},
		{"www.example.jp:8080", 200, "www"},
		{"x.example.jp", 200, "wild"},
		{"x.y.example.jp", 200, "wild"},
		{"x.a.example.jp", 200, "deep"},
		{"a.example.jp", 200, "wild"},
		{"example.net", 200, "wild"},
		{"[2001:db8:0::1]:80", 200, "deep"},
		{"example.jp", 421, ""},
		{"evil.test", 421, ""},
		{"127.0.0.1", 421, ""},
		{"[127.0.0.1]", 400, ""},
		{"x[::1]", 400, ""},
		{"www.example.jp:80abc", 400, ""},
		{"www.example.jp:99999", 400, ""},
		{"0x7f.1", 400, ""},
		{"user@www.example.jp", 400, ""},
		{"www.example.jp,evil.test", 400, ""},
	} {
		status, body := ask(t, s.at(t, "::1"), "GET / HTTP/1.1\r\nHost: "+row.host+"\r\nConnection: close\r\n\r\n")
		if status != row.status || row.want != "" && !strings.HasPrefix(body, "backend "+row.want+"\n") {
			t.Errorf("Host %q: %d %q, want %d from %q", row.host, status, body, row.status, row.want)
		}
	}
}

func TestSiteDefault(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "any", Hosts: []string{"default"}, Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, startWeb(t, "any")), Access: acl.AllowAll(),
	}}})
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: whatever.test\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
	} {
		if status, body := ask(t, s.at(t, "::1"), request); status != 200 || !strings.HasPrefix(body, "backend any\n") {
			t.Errorf("%q: %d %q", request, status, body)
		}
	}
}

// What a client claims about itself is gone, however it is spelled; what we
// know is there.
func TestSiteIdentity(t *testing.T) {
	listen := mustListen(t, "[::1]:0")
	s := start(t, Config{Sites: []Site{
		{Name: "xff", Listen: listen, To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll()},
		{Name: "all", Listen: listen, To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(), Announce: []string{"forwarded", "x-real-ip"}},
		{Name: "none", Listen: listen, To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(), Announce: []string{}},
	}})
	claims := "X-Forwarded-For: 10.6.6.6\r\nx_forwarded_for: 10.6.6.6\r\nX.Forwarded.For: 10.6.6.6\r\nForwarded: for=10.6.6.6\r\n" +
		"X-Real-IP: 10.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Prefix: /evil\r\nTrue-Client-IP: 10.6.6.6\r\nProxy: http://10.6.6.6\r\n" +
		"Pseudo_IPv4: 10.6.6.6\r\nConnection: close, X-Forwarded-For, X-Real-IP, Forwarded\r\nKept: yes\r\n"
	for _, row := range []struct{ site, want string }{
		{"xff", "Kept: yes\nX-Forwarded-For: ::1\nX-Forwarded-Host: xff\nX-Forwarded-Proto: http\n"},
		{"all", "Forwarded: for=\"[::1]\";proto=http;host=\"all\"\nKept: yes\nX-Real-Ip: ::1\n"},
		{"none", "Kept: yes\n"},
	} {
		_, body := ask(t, s.at(t, "::1"), "GET /p?a=1;b HTTP/1.1\r\nHost: "+row.site+"\r\n"+claims+"\r\n")
		want := "backend b\nGET /p?a=1;b host=" + row.site + " body=\"\"\n" + row.want
		if body != want {
			t.Errorf("site %s: the backend got\n%s\nwant\n%s", row.site, body, want)
		}
	}
}

func TestSiteRefusesBeforeRouting(t *testing.T) {
	s := start(t, Config{Sites: []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll()}}})
	for _, row := range []struct {
		name, request string
		status        int
	}{
		{"connect", "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n", 405},
		{"fragment", "GET /x#y HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
		{"ftp", "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
		{"userinfo", "GET http://u@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
		{"no-authority", "GET http:///x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
		{"asterisk-get", "GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
		{"no-host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two-hosts", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400},
		{"many-fields", "GET / HTTP/1.1\r\nHost: a.test\r\n" + strings.Repeat("A: b\r\n", 300) + "\r\n", 431},
	} {
		if status, body := ask(t, s.at(t, "::1"), row.request); status != row.status {
			t.Errorf("%s: %d %q, want %d", row.name, status, body, row.status)
		}
	}
}

// Only websocket is a way out of HTTP: "h2c" would be a tunnel past the rules.
func TestSiteUpgrade(t *testing.T) {
	s := start(t, Config{Sites: []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll()}}})
	for _, row := range []struct {
		protocol string
		passed   bool
	}{{"websocket", true}, {"WebSocket", true}, {"h2c", false}, {"TLS/1.0", false}, {"websocket, h2c", false}} {
		_, body := ask(t, s.at(t, "::1"), "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: "+row.protocol+"\r\n\r\n")
		if got := strings.Contains(body, "\nUpgrade: websocket\n"); got != row.passed {
			t.Errorf("Upgrade %q passed on: %v, want %v\n%s", row.protocol, got, row.passed, body)
		}
	}
}

func TestSiteDenied(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "[::1]:0", "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: mustRules(t, "deny 127.0.0.0/8", "allow all"),
	}}})
	get := "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	if status, body := ask(t, s.at(t, "127.0.0.1"), get); status != 403 || body != "Forbidden: this site is not open to your address\n" {
		t.Errorf("denied client: %d %q", status, body)
	}
	s.log.waitFor(t, "msg=denied", "site=a.test", "client=127.0.0.1", `rule="deny 127.0.0.0/8"`, "at=genkan.toml:1:10")
	if status, _ := ask(t, s.at(t, "::1"), get); status != 200 {
		t.Errorf("allowed client: %d", status)
	}
}

func TestSiteBackendRefuses(t *testing.T) {
	to := unusedAddr(t)
	s := start(t, Config{Sites: []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll()}}})
	if status, body := ask(t, s.at(t, "::1"), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); status != 502 || body != "Bad Gateway: the server behind this site cannot be reached; try again in a minute\n" {
		t.Errorf("%d %q, want 502", status, body)
	}
	s.log.waitFor(t, `msg="no backend"`, "site=a.test", "client=::1", `cause="backend `+to+`: connection refused after `, "waited=")
}

// A client that says nothing is not waited for.
func TestSiteHeaderDeadline(t *testing.T) {
	s := start(t, Config{
		Sites:    []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, unusedAddr(t)), Access: acl.AllowAll()}},
		Timeouts: Timeouts{Header: 50 * time.Millisecond},
	})
	conn := mustDial(t, s.at(t, "::1"))
	io.WriteString(conn, "GET / HTT")
	if _, err := io.ReadAll(conn); err != nil && !isReset(err) {
		t.Error(err)
	}
	poll(t, "the slot was not given back", func() bool { return s.Stats().Open == 0 })
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

// A request under way is finished at the stop, and its answer is whole.
func TestSiteStopFinishes(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-release
		io.WriteString(w, "whole")
	}))
	t.Cleanup(backend.Close)
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, strings.TrimPrefix(backend.URL, "http://")), Access: acl.AllowAll(),
	}}})
	addr := s.at(t, "::1")
	conn := mustDial(t, addr)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	<-entered
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	poll(t, "the listener stays open", func() bool {
		probe, err := net.Dial("tcp", addr)
		if err == nil {
			probe.Close()
		}
		return err != nil
	})
	close(release)
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(answer), "whole") {
		t.Errorf("answer %q, %v", answer, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A backend that is there, and has enough to do or was taken out, is no
// reason to say that it cannot be reached.
func TestSiteBackendTakesNoMore(t *testing.T) {
	asked, answer := make(chan bool, 1), make(chan bool)
	busy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- true
		<-answer
	}))
	t.Cleanup(busy.Close)
	to := strings.TrimPrefix(busy.URL, "http://")
	s := start(t, Config{Sites: []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, to), MaxConns: 1, Access: acl.AllowAll()}}})
	const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	refused := func(why string) {
		t.Helper()
		conn := mustDial(t, s.at(t, "::1"))
		io.WriteString(conn, get)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v %v, want 503 with Retry-After", why, resp, err)
		}
		s.log.waitFor(t, `msg="no backend"`, `cause="backend `+to+`: `+why+`"`)
	}
	first := mustDial(t, s.at(t, "::1"))
	io.WriteString(first, get)
	<-asked
	refused("at max_conns")
	close(answer)
	if resp, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("the first: %v %v", resp, err)
	}
	if _, err := s.Steer(BackendID{"site", "a.test", to}, Steering{BackendDisabled, 1}); err != nil {
		t.Fatal(err)
	}
	refused("taken out by the operator")
}
