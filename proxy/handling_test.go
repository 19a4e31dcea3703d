package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"genkan/acl"
	"genkan/proxy/exchange"
	"genkan/proxy/message"
)

// get asks for one path of a.test and gives the whole answer.
func get(t *testing.T, addr, target string, fields ...string) (*http.Response, string) {
	t.Helper()
	return send(t, addr, "GET", target, "", fields...)
}

func send(t *testing.T, addr, method, target, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	conn := mustDial(t, addr)
	head := method + " " + target + " HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// A route has backends and rules of its own, or those of the site; what was
// decided on is what the backend gets.
func TestSiteRoutes(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "site")), Access: acl.AllowAll(),
		Routes: []Route{
			{Path: "/admin", Access: mustRules(t, "deny all")},
			{Path: "/admin/open", Access: mustRules(t, "allow all"), To: mustBackend(t, startWeb(t, "open"))},
			{Path: "/app", Strip: true, To: mustBackend(t, startWeb(t, "app"))},
		},
	}}})
	addr := s.at(t, "127.0.0.1")
	for _, row := range []struct {
		target string
		status int
		want   string // who answers, and to what
	}{
		{"/", 200, "site GET /"},
		{"/x//y?q=//", 200, "site GET /x/y?q=//"},
		{"/administrator", 200, "site GET /administrator"},
		{"/group%2fproject", 200, "site GET /group%2Fproject"},
		{"/admin", 403, ""},
		{"/admin/x", 403, ""},
		{"//admin", 403, ""},
		{"/%61dmin", 403, ""},
		{"/app/../admin", 403, ""},
		{"http://a.test/admin", 403, ""},
		{"/app/..%2fadmin", 400, ""},
		{"/app/..;/admin", 400, ""},
		{"/..", 400, ""},
		{"/admin/open/x", 200, "open GET /admin/open/x"},
		{"/app", 200, "app GET /"},
		{"/app/x?y", 200, "app GET /x?y"},
		{"/app//evil.test/", 200, "app GET /evil.test/"},
		{"/appendix", 200, "site GET /appendix"},
	} {
		resp, body := get(t, addr, row.target)
		var name, method, target string
		fmt.Sscanf(body, "backend %s\n%s %s", &name, &method, &target)
		if got := name + " " + method + " " + target; resp.StatusCode != row.status || row.want != "" && got != row.want {
			t.Errorf("%s: %d %q, want %d %q", row.target, resp.StatusCode, got, row.status, row.want)
		}
		if want := strings.HasPrefix(row.target, "/app") && row.status == 200 && name == "app"; strings.Contains(body, "X-Forwarded-Prefix: /app\n") != want {
			t.Errorf("%s: X-Forwarded-Prefix is wrong: %s", row.target, body)
		}
	}
	s.log.waitFor(t, "msg=denied", "site=a.test", `rule="deny all"`)
}

// A site without routes decides nothing by the path, and leaves it alone.
func TestSiteWithoutRoutesKeepsThePath(t *testing.T) {
	s := start(t, Config{Sites: []Site{{Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll()}}})
	for _, target := range []string{"/a//b/../c/%2e%2E/%61?x", "/..;/x", "//x"} {
		if _, body := get(t, s.at(t, "127.0.0.1"), target); !strings.HasPrefix(body, "backend b\nGET "+target+" ") {
			t.Errorf("%s: %s", target, body)
		}
	}
}

func TestSiteAnswers(t *testing.T) {
	fixed := func(path string, a Answer) Route { return Route{Path: path, Handling: Handling{Answer: &a}} }
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), Access: mustRules(t, "deny 127.0.0.2", "allow all"),
		Handling: Handling{Answer: &Answer{Status: 503, Page: exchange.Page{Type: "text/html", Text: "<h1>Back at noon</h1>"}}},
		Routes: []Route{
			fixed("/old", Answer{Redirect: "https://www.example.jp{path}", Status: 301}),
			fixed("/here", Answer{Redirect: "{path}/"}),
			fixed("/host", Answer{Redirect: "https://{host}/", Status: 308}),
			fixed("/gone", Answer{Status: 410}),
			fixed("/empty", Answer{Status: 204}),
			{Path: "/inherits"},
		},
	}}})
	addr := s.at(t, "127.0.0.1")
	for _, row := range []struct {
		method, target, want string
	}{
		{"GET", "/", "503 [] text/html no-store <h1>Back at noon</h1>"},
		{"HEAD", "/", "503 [] text/html no-store "},
		{"GET", "/inherits/x", "503 [] text/html no-store <h1>Back at noon</h1>"},
		{"GET", "/old//x/?y=z", "301 [https://www.example.jp/old/x/?y=z] text/plain; charset=utf-8  Moved Permanently\n"},
		{"GET", "//here/\\evil", "302 [/here/%5Cevil/] text/plain; charset=utf-8  Found\n"},
		{"POST", "/host", "308 [https://a.test/] text/plain; charset=utf-8  Permanent Redirect\n"},
		{"GET", "/gone", "410 [] text/plain; charset=utf-8 no-store Gone\n"},
		{"GET", "/empty", "204 [] text/plain; charset=utf-8  "},
		{"TRACE", "/", "405 [] text/plain; charset=utf-8 no-store Method Not Allowed: TRACE is not served\n"},
	} {
		resp, body := send(t, addr, row.method, row.target, "")
		got := fmt.Sprintf("%d %v %s %s %s", resp.StatusCode, resp.Header["Location"], resp.Header.Get("Content-Type"), resp.Header.Get("Cache-Control"), body)
		if got != row.want {
			t.Errorf("%s %s: %q, want %q", row.method, row.target, got, row.want)
		}
	}
	if status, body := ask(t, addr, "GET /host HTTP/1.0\r\nHost: a.test\r\n\r\n"); status != 308 {
		t.Errorf("HTTP/1.0: %d %q", status, body)
	}
}

// The rules stand before redirects and answers of ours.
func TestSiteAnswerOfDenied(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), Access: mustRules(t, "deny all"),
		Handling: Handling{Answer: &Answer{Redirect: "https://www.example.jp{path}"}},
	}}})
	if resp, _ := get(t, s.at(t, "127.0.0.1"), "/"); resp.StatusCode != 403 || resp.Header.Get("Location") != "" {
		t.Errorf("%d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
}

func TestSiteEdits(t *testing.T) {
	edit := func(name, value string) []message.Field { return []message.Field{{Name: name, Value: value}} }
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(), Announce: []string{"x-real-ip"},
		Handling: Handling{
			Request:  message.Edits{Remove: []string{"cookie"}, Set: edit("X-Env", "prod"), Add: edit("Via", "1.1 genkan")},
			Response: message.Edits{Remove: []string{"Content-Type"}, Set: edit("Strict-Transport-Security", "max-age=1")},
		},
		Routes: []Route{
			{Path: "/r", Handling: Handling{Request: message.Edits{Set: edit("X-Env", "route")}, Response: message.Edits{Add: edit("X-Route", "r")}}},
			{Path: "/own", Handling: Handling{Answer: &Answer{Status: 404}}},
		},
	}}})
	addr := s.at(t, "127.0.0.1")
	resp, body := get(t, addr, "/", "Cookie: a=b", "x-env: dev", "Via: 1.1 cdn")
	want := "backend b\nGET / host=a.test body=\"\"\nVia: 1.1 cdn\nVia: 1.1 genkan\nX-Env: prod\nX-Real-Ip: 127.0.0.1\n"
	if body != want || resp.Header.Get("Content-Type") != "" || resp.Header.Get("Strict-Transport-Security") != "max-age=1" {
		t.Errorf("%v\n%s\nwant\n%s", resp.Header, body, want)
	}
	if resp, body := get(t, addr, "/r"); !strings.Contains(body, "X-Env: route\n") || resp.Header.Get("X-Route") != "r" || resp.Header.Get("Strict-Transport-Security") != "max-age=1" {
		t.Errorf("route: %v\n%s", resp.Header, body)
	}
	if resp, _ := get(t, addr, "/own"); resp.StatusCode != 404 || resp.Header.Get("Strict-Transport-Security") != "max-age=1" {
		t.Errorf("our own answer: %v", resp.Header)
	}
}

func TestSiteBounds(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(),
		Handling: Handling{MaxBody: 10, MaxHeader: 200},
		Routes:   []Route{{Path: "/upload", Handling: Handling{MaxBody: 100}}},
	}}})
	addr := s.at(t, "127.0.0.1")
	chunked := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, strings.Repeat("x", n)) }
	for _, row := range []struct {
		target, body string
		fields       []string
		status       int
	}{
		{"/", strings.Repeat("x", 10), []string{"Content-Length: 10"}, 200},
		{"/", strings.Repeat("x", 11), []string{"Content-Length: 11"}, 413},
		{"/upload", strings.Repeat("x", 11), []string{"Content-Length: 11"}, 200},
		{"/", chunked(10), []string{"Transfer-Encoding: chunked"}, 200},
		{"/", chunked(11), []string{"Transfer-Encoding: chunked"}, 413},
		{"/", chunked(100_000), []string{"Transfer-Encoding: chunked"}, 413},
		{"/upload", chunked(100), []string{"Transfer-Encoding: chunked"}, 200},
		{"/", "", []string{"X: " + strings.Repeat("x", 180)}, 200},
		{"/", "", []string{"X: " + strings.Repeat("x", 200)}, 431},
		{"/?" + strings.Repeat("x", 200), "", nil, 431},
	} {
		resp, body := send(t, addr, "POST", row.target, row.body, row.fields...)
		if resp.StatusCode != row.status {
			t.Errorf("%.20s %.30q: %d %q, want %d", row.target, row.fields, resp.StatusCode, body, row.status)
		}
		if row.status == 200 && row.body != "" && !strings.Contains(body, "body=\"x") {
			t.Errorf("%.20s %.30q: the content did not arrive: %s", row.target, row.fields, body)
		}
	}
}

// Error pages say what is wrong and nothing of what is behind; browsers get
// HTML, in which what they sent is harmless.
func TestSiteErrorPages(t *testing.T) {
	to := unusedAddr(t)
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, to), Access: acl.AllowAll(),
		Handling: Handling{ErrorPages: map[int]exchange.Page{413: {Type: "text/html", Text: "<h1>Too much</h1>"}}, MaxBody: 1},
		Routes:   []Route{{Path: "/r"}},
	}}})
	addr := s.at(t, "127.0.0.1")
	resp, body := get(t, addr, "/", "Accept: text/html, */*")
	if resp.StatusCode != 502 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.Contains(body, "<h1>Bad Gateway</h1>\n<p>the server behind this site cannot be reached; try again in a minute</p>") || strings.Contains(body, to) {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	for _, target := range []string{"/", "/r"} {
		if resp, body := send(t, addr, "POST", target, "xx", "Content-Length: 2"); resp.StatusCode != 413 || body != "<h1>Too much</h1>" {
			t.Errorf("own page at %s: %d %q", target, resp.StatusCode, body)
		}
	}
	if resp, body := get(t, addr, "/r/..%2f<script>", "Accept: text/html"); resp.StatusCode != 400 || strings.Contains(body, "<script>") || !strings.Contains(body, "&lt;script&gt;") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// Names in their own letters are found by what browsers send.
func TestSiteIDNA(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "日本語.example", Hosts: []string{"日本語.example", "*.Bücher.example", "xn--4ca.example"},
		Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(),
	}}})
	for _, host := range []string{"xn--wgv71a119e.example", "www.XN--BCHER-KVA.example", "xn--4ca.example"} {
		if status, body := ask(t, s.at(t, "127.0.0.1"), "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); status != 200 {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
	for _, row := range []struct{ pattern, want string }{
		{"xn--a.example", `host "xn--a.example": a label that begins with "xn--" is no Punycode (RFC 3492); write the name in its own letters`},
		{"*.bü cher.example", `host "*.bü cher.example" is not a name, "*.NAME" or "default"; write it without scheme, port and path`},
		{"a\u200d.example", `host "a\u200d.example": no internationalised name (invalid label "a\u200d"); write the form that DNS has, which begins with "xn--"`},
		{"http://bücher.example/", `host "http://bücher.example/" is not a name, "*.NAME" or "default"; write it without scheme, port and path`},
	} {
		if got, err := canonicalPattern(row.pattern); fmt.Sprint(err) != row.want {
			t.Errorf("%q: %q, %v\nwant %s", row.pattern, got, err, row.want)
		}
	}
}

func TestHandlingErrors(t *testing.T) {
	site := func(edit func(*Site)) Config {
		one := Site{Name: "a", Hosts: []string{"a.test"}, Listen: mustListen(t, ":80"), To: mustBackend(t, "10.0.0.1:80"), Access: acl.AllowAll()}
		edit(&one)
		return Config{Sites: []Site{one}}
	}
	for _, row := range []struct {
		edit func(*Site)
		want string
	}{
		{func(s *Site) { s.To = nil }, `site "a": no backend; write to = "ADDRESS:PORT"`},
		{func(s *Site) { s.Answer = &Answer{Status: 404} }, `site "a": there are backends, and an answer in their place; take one of them away`},
		{func(s *Site) { s.To, s.Answer = nil, &Answer{Status: 101} }, `site "a": status 101 is no answer; write 200 to 599`},
		{func(s *Site) { s.To, s.Answer = nil, &Answer{Status: 301} }, `site "a": status 301 sends clients elsewhere, and nobody says where; write redirect, too`},
		{func(s *Site) { s.To, s.Answer = nil, &Answer{Status: 204, Page: exchange.Page{Text: "x"}} }, `site "a": status 204 has no content, so nobody sees body or file; leave them out, or write another status`},
		{func(s *Site) { s.To, s.Answer = nil, &Answer{Status: 200, Redirect: "/x"} }, `site "a": status 200 redirects nobody; write 301, 302, 303, 307 or 308`},
		{func(s *Site) { s.Routes = []Route{{Path: "x"}} }, `site "a": path "x" does not begin with "/"`},
		{func(s *Site) { s.Routes = []Route{{Path: "/x"}, {Path: "/x/"}} }, `site "a": path "/x/" is given twice`},
		{func(s *Site) { s.Request.Remove = []string{"X-Real-IP"} }, `site "a": header "X-Real-IP" tells who the client is, which announce does; leave it out`},
		{func(s *Site) { s.MaxBody = -1 }, `site "a": a bound on requests is negative; write how many bytes may come`},
		{func(s *Site) {
			s.Routes = []Route{{Path: "/x", Handling: Handling{Answer: &Answer{Redirect: "//evil"}}}}
		}, `site "a": route "/x": redirect "//evil": write where to with http:// or https://, as "https://www.example.jp{path}", or a path of this site`},
	} {
		if _, err := New(site(row.edit)); fmt.Sprint(err) != row.want {
			t.Errorf("%v\nwant %s", err, row.want)
		}
	}
}
