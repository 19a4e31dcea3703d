package http1_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"genkan/proxy/internal/webtest"
)

var errTimeout = os.ErrDeadlineExceeded

const smuggling = "testdata/smuggling"

// TestSmugglingVectors sends each client stream and looks at what the
// strict recorder behind us got.
func TestSmugglingVectors(t *testing.T) {
	webtest.CheckSmuggling(t, smuggling, func(t *testing.T, backend string) string {
		return startFront(t, backend, nil).Addr
	})
}

// TestResponseVectors lets the backend answer with each file and close.
func TestResponseVectors(t *testing.T) {
	// What the client may see: a status, and whether the answer is whole.
	// "cut" is an answer that the client can tell is not whole.
	want := map[string]string{
		"resp-cl-te":           "200 ok",
		"resp-dup-cl":          "502",
		"resp-extra-after-204": "204",
		"resp-short-chunked":   "cut",
		"resp-bad-chunk":       "cut",
		"resp-lf-chunk":        "cut",
		"resp-te-gzip":         "502",
		"resp-nul-value":       "502",
		"resp-cr-value":        "502",
		"resp-status-99":       "502",
		"resp-status-garbage":  "502",
		"resp-103-then-200":    "200 ok",
		"resp-1xx-flood":       "502",
		"resp-101-unsolicited": "502",
		"resp-200-to-upgrade":  "200 ok",
		"resp-hdr-endless":     "502",
		"resp-conn-listed":     "200 ok",
		"resp-http10-close":    "200 ok",
	}
	for _, v := range webtest.ReadVectors(t, smuggling, func(n string) bool { return strings.HasPrefix(n, "resp-") }) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			addr := webtest.StartBackend(t, func(c *net.TCPConn) {
				http.ReadRequest(bufio.NewReader(c))
				times := 1
				if v.Name == "resp-1xx-flood" {
					times = 100000
				}
				for range times {
					if _, err := c.Write(v.Data); err != nil {
						return
					}
				}
				for v.Name == "resp-hdr-endless" {
					if _, err := c.Write(bytes.Repeat([]byte("a"), 4096)); err != nil {
						return
					}
				}
			})
			f := startFront(t, addr, nil)
			c := mustDial(t, f.Addr)
			request := "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
			if v.Name == "resp-200-to-upgrade" {
				request = "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
			}
			io.WriteString(c, request)
			if got := readAnswer(t, c); got != want[v.Name] {
				t.Errorf("got %q, want %q", got, want[v.Name])
			}
			checkNotReused(t, f)
		})
	}
}

// readAnswer reads one final answer: "STATUS body", "STATUS" without a body
// or with an error's, or "cut".
func readAnswer(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: "GET"})
		if err != nil {
			return "cut"
		}
		if resp.StatusCode < 200 && resp.StatusCode != 101 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.Header.Get("X-Secret") != "" || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("header %q", resp.Header)
		}
		switch {
		case err != nil:
			return "cut"
		case resp.StatusCode >= 400 || len(body) == 0:
			return resp.Status[:3]
		}
		return resp.Status[:3] + " " + string(body)
	}
}

// checkNotReused sends another request: it must get a new connection, hence
// the same answer and not what the first left behind.
func checkNotReused(t *testing.T, f *front) {
	t.Helper()
	c := mustDial(t, f.Addr)
	io.WriteString(c, "GET /second HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	got, _ := readFor(c, 10*time.Second)
	if bytes.Contains(got, []byte("poison")) {
		t.Errorf("the second client was sent %q", got)
	}
}

func TestCutAnswerIsVisible(t *testing.T) {
	for _, row := range []struct{ name, answer string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"},
		{"large", "HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + strings.Repeat("x", 300000)},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := webtest.StartBackend(t, func(c *net.TCPConn) {
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, row.answer)
			})
			f := startFront(t, addr, nil)
			c := mustDial(t, f.Addr)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
			if got := readAnswer(t, c); got != "cut" {
				t.Errorf("got %q, want cut", got)
			}
		})
	}
}
