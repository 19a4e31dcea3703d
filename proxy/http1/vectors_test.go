package http1_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
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
	rows := webtest.ReadVectors(t, smuggling, func(n string) bool {
		return !strings.HasPrefix(n, "h2-") && !strings.HasPrefix(n, "resp-")
	})
	for _, v := range rows {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			rec := webtest.StartRecorder(t)
			f := startFront(t, rec.Addr, nil)
			c := mustDial(t, f.Addr)
			go c.Write(v.Data)
			window := 500 * time.Millisecond
			if strings.HasPrefix(v.Name, "expect") {
				window = 1600 * time.Millisecond
			}
			if strings.Contains(v.Name, "trunc") {
				time.AfterFunc(100*time.Millisecond, func() { c.CloseWrite() })
			}
			answer, closed := readFor(c, window)
			got, faults := rec.Requests()
			checkVector(t, v, answers(t, answer), closed, got, faults)
		})
	}
}

func checkVector(t *testing.T, v webtest.Vector, statuses []int, closed bool, got []webtest.Seen, faults []string) {
	t.Helper()
	oks := len(slices.DeleteFunc(slices.Clone(statuses), func(s int) bool { return s != 200 }))
	bads := len(statuses) - oks
	refused := bads <= 1 && oks == 0 && len(got) == 0 && closed
	one := oks == 1 && bads == 0 && len(got) == 1
	pass := false
	switch v.Expected {
	case "400":
		pass = refused
	case "one":
		pass = one
	case "two":
		pass = oks == 2 && bads == 0 && len(got) == 2
	case "400/one":
		pass = refused || one
	case "one+400":
		pass = oks == 1 && bads <= 1 && len(got) == 1 && closed
	default:
		t.Fatalf("unknown expectation %q", v.Expected)
	}
	if !pass {
		t.Errorf("want %s; got answers %v, closed %v, backend saw %q", v.Expected, statuses, closed, got)
	}
	if bads > 0 && !closed {
		t.Errorf("connection open after %v", statuses)
	}
	if len(faults) > 0 {
		t.Errorf("the recorder was sent %q", faults)
	}
	for _, r := range got {
		if strings.HasPrefix(r.Target, "/smuggled") {
			t.Errorf("smuggled: %q", r)
		}
		for name, values := range r.Header {
			claim := strings.HasPrefix(name, "x-forwarded") || name == "x-real-ip" || name == "forwarded" || strings.ContainsAny(name, "_")
			if claim && !slices.Equal(values, []string{"127.0.0.1"}) {
				t.Errorf("the client's word passed: %s: %q", name, values)
			}
		}
		if len(r.Header["x-forwarded-for"]) != 1 || len(r.Header["x-real-ip"]) != 1 {
			t.Errorf("our own fields did not reach the backend: %q", r.Header)
		}
	}
}

// answers reads the status of each answer in b.
func answers(t *testing.T, b []byte) (statuses []int) {
	t.Helper()
	br := bufio.NewReader(bytes.NewReader(b))
	for {
		if _, err := br.Peek(1); err != nil {
			return statuses
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("answer %q: %v", b, err)
		}
		if resp.StatusCode != 100 {
			statuses = append(statuses, resp.StatusCode)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
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
