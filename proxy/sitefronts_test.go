package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"genkan/acl"
	"genkan/proxy/exchange"
	"genkan/proxy/message"
)

// askFor makes a request with a Host of its own, and gives the status and what
// the backend, or we, said.
func (c frontClient) askFor(t *testing.T, method, host, path string, body io.Reader) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "https://a.test"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	r.Header["X-Forwarded-For"] = []string{"10.6.6.6"}
	r.Header["X-Forwarded-Host"] = []string{"evil.test"}
	resp, err := c.RoundTrip(r)
	if err != nil {
		return &http.Response{StatusCode: 400}, err.Error() // HTTP/2 and 3 may reset
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", c.version, host, err)
	}
	return resp, string(text)
}

// Tricks with Host lead to the site that everybody would say they mean, or to
// 400 or 421, over every version of HTTP, and no backend sees them.
func TestHostTricks(t *testing.T) {
	_, clients, _ := startFronts(t, startWeb(t, "a"), func(c *Config) {
		six := c.Sites[0]
		six.Name, six.Hosts, six.To = "six", []string{"[2001:db8::1]", "under_score.test", "192.0.2.1", "bücher.test"}, mustBackend(t, startWeb(t, "six"))
		c.Sites = append(c.Sites, six)
	})
	for _, row := range []struct{ host, want string }{ // want is "BACKEND HOST" or the status
		{"a.test", "a a.test"}, {"A.TEST", "a a.test"}, {"a.test.", "a a.test"}, {"A.test.:443", "a a.test:443"}, {"a.test:0443", "a a.test:443"}, {"a.test:", "a a.test"},
		{"[2001:DB8:0::1]", "six [2001:db8::1]"}, {"[2001:db8::1]:8443", "six [2001:db8::1]:8443"}, {"under_score.test", "six under_score.test"},
		{"192.0.2.1:80", "six 192.0.2.1:80"}, {"xn--bcher-kva.test", "six xn--bcher-kva.test"},
		{"b.test", "421"}, {"xa.test", "421"}, {"a.test.evil", "421"}, {"[2001:db8::2]", "421"}, {"localhost", "421"},
		{"[a.test]", "400"}, {"a.test[::1]", "400"}, {"x[2001:db8::1]", "400"}, {"[2001:db8::1", "400"}, {"[2001:db8::1]x", "400"}, {"[::ffff:192.0.2.1]", "400"},
		{"[192.0.2.1]", "400"}, {"0xc0.0.2.1", "400"}, {"192.0.2.01", "400"}, {"3221225985", "400"},
		{"a.test:99999", "400"}, {"a.test:80abc", "400"}, {"a.test:0", "400"}, {"a.test:-1", "400"}, {"a.test:80:80", "400"},
		{"a.test,b.test", "400"}, {"user@a.test", "400"}, {"a..test", "400"}, {".a.test", "400"}, {"a.test..", "400"}, {"a%2etest", "400"},
	} {
		for _, c := range clients {
			resp, body := c.askFor(t, "GET", row.host, "/", nil)
			got := fmt.Sprint(resp.StatusCode)
			if resp.StatusCode == 200 {
				var name, host string
				fmt.Sscanf(body, "backend %s\nGET / host=%s ", &name, &host)
				got = name + " " + host
				if want := "X-Forwarded-Host: " + host + "\n"; !strings.Contains(body, want) || strings.Contains(body, "evil") || strings.Contains(body, "10.6.6.6") {
					t.Errorf("%s %q: the backend got\n%s", c.version, row.host, body)
				}
			}
			if got != row.want {
				t.Errorf("%s %q: %q, want %q", c.version, row.host, got, row.want)
			}
		}
	}
}

// Routes, answers, edits, bounds and error pages are the same over every
// version of HTTP.
func TestSitesOnAllFronts(t *testing.T) {
	field := func(name, value string) []message.Field { return []message.Field{{Name: name, Value: value}} }
	_, clients, _ := startFronts(t, startWeb(t, "b"), func(c *Config) {
		c.Sites[0].Handling = Handling{
			MaxBody: 10, Request: message.Edits{Set: field("X-Env", "prod")}, Response: message.Edits{Set: field("X-Front", "genkan")},
			ErrorPages: map[int]exchange.Page{403: {Type: "text/html", Text: "<h1>No</h1>"}},
		}
		c.Sites[0].Routes = []Route{
			{Path: "/admin", Access: mustRules(t, "deny all")},
			{Path: "/app", Strip: true},
			{Path: "/old", Handling: Handling{Answer: &Answer{Redirect: "https://www.example.jp{path}", Status: 308}}},
			{Path: "/down", Handling: Handling{Answer: &Answer{Status: 503, Page: exchange.Page{Text: "Back at noon"}}}},
		}
		c.Sites[0].Access = acl.AllowAll()
	})
	for _, row := range []struct {
		method, path, body string
		status             int
		want               string // begins the content
	}{
		{"GET", "/x", "", 200, "backend b\nGET /x "},
		{"GET", "/app/x?y=1", "", 200, "backend b\nGET /x?y=1 "},
		{"GET", "/admin/x", "", 403, "<h1>No</h1>"},
		{"GET", "/app//../admin", "", 403, "<h1>No</h1>"},
		{"GET", "/%61dmin", "", 403, "<h1>No</h1>"},
		{"GET", "/app/..%2fadmin", "", 400, "Bad Request: path that servers read in different ways"},
		{"GET", "/old/x?y", "", 308, "Permanent Redirect\n"},
		{"POST", "/down", "x", 503, "Back at noon"},
		{"HEAD", "/down", "", 503, ""},
		{"TRACE", "/x", "", 405, "Method Not Allowed: TRACE is not served\n"},
		{"POST", "/x", "0123456789", 200, "backend b\nPOST /x host=a.test body=\"0123456789\""},
		{"POST", "/x", "0123456789a", 413, "Content Too Large: the request is larger than this site takes\n"},
	} {
		for _, c := range clients {
			for _, known := range []bool{true, false} { // length told, or not
				var body io.Reader
				switch {
				case row.body != "" && known:
					body = bytes.NewReader([]byte(row.body))
				case row.body != "":
					body = io.MultiReader(strings.NewReader(row.body))
				}
				resp, text := c.askFor(t, row.method, "a.test", row.path, body)
				if resp.StatusCode != row.status || !strings.HasPrefix(text, row.want) {
					t.Errorf("%s %s %s: %d %q, want %d %q", c.version, row.method, row.path, resp.StatusCode, text, row.status, row.want)
				}
				if resp.StatusCode != 400 && resp.Header.Get("X-Front") != "genkan" {
					t.Errorf("%s %s: the answer is not edited: %v", c.version, row.path, resp.Header)
				}
				if row.status == 200 && !strings.Contains(text, "X-Env: prod\n") {
					t.Errorf("%s %s: the request is not edited: %s", c.version, row.path, text)
				}
				if row.status == 308 && resp.Header.Get("Location") != "https://www.example.jp/old/x?y" {
					t.Errorf("%s: sent to %q", c.version, resp.Header.Get("Location"))
				}
			}
		}
	}
}
