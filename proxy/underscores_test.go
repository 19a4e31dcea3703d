package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"genkan/proxy/accesslog"
	"genkan/proxy/message"
)

// What a CGI server would read as a field of ours is dropped, refused, or
// passed as the operator says, on every version of HTTP; a field under its own
// name, and what only looks alike, is not concerned.
func TestUnderscoreHeaders(t *testing.T) {
	seen := make(chan http.Header, 1)
	to := startBackend(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			seen <- r.Header
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	for mode, want := range map[message.Underscores]string{
		message.DropAliases:   "200 [] [] [] [yes]",
		message.RejectAliases: "400",
		message.PassAliases:   "200 [9.9.9.9] [9.9.9.8] [0] [yes]",
	} {
		_, clients, _ := startFronts(t, to, func(c *Config) { c.Underscores = mode })
		for _, c := range clients {
			resp := c.ask(t, "GET", "/", nil, http.Header{
				"X_forwarded_for": {"9.9.9.9"}, "X.real.ip": {"9.9.9.8"}, "Content_length": {"0"}, "My_field": {"yes"}, "X-Forwarded-For": {"9.9.9.7"},
			}, nil)
			got := fmt.Sprint(resp.StatusCode)
			if resp.StatusCode == 200 {
				h := <-seen
				got = fmt.Sprint(got, " ", h["X_forwarded_for"], " ", h["X.real.ip"], " ", h["Content_length"], " ", h["My_field"])
				if xff := h.Values("X-Forwarded-For"); len(xff) != 1 || xff[0] != "::1" {
					t.Errorf("%s: X-Forwarded-For %q", c.version, xff)
				}
			}
			if got != want {
				t.Errorf("mode %v, %s: %s, want %s", mode, c.version, got, want)
			}
		}
	}
}

// Who is refused for such a field is told which it is, and so is the operator.
func TestUnderscoresAreTold(t *testing.T) {
	path := t.TempDir() + "/access.log"
	_, clients, _ := startFronts(t, startWeb(t, "b"), func(c *Config) {
		c.Underscores, c.AccessLog = message.RejectAliases, accesslog.Spec{To: path, Format: accesslog.JSON}
	})
	const why = `field "X_real_ip" is another spelling of one that only we may set`
	resp := clients[0].ask(t, "GET", "/", nil, http.Header{"X_real_ip": {"9.9.9.9"}}, nil)
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "Bad Request: "+why+"\n" {
		t.Errorf("%q %v", text, err)
	}
	if got := pick(logged(t, path, 1)[0], "status", "cause"); got != "400 "+why {
		t.Error(got)
	}
}
