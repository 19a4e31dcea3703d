package webtest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// CheckSmuggling sends each HTTP/1 stream of the vectors in dir to a front
// that start makes before a recorder, and looks at the answers and at what
// the recorder got. The front has to announce 127.0.0.1 in X-Forwarded-For
// and X-Real-IP.
func CheckSmuggling(t *testing.T, dir string, start func(t *testing.T, backend string) (addr string)) {
	rows := ReadVectors(t, dir, func(n string) bool {
		return !strings.HasPrefix(n, "h2-") && !strings.HasPrefix(n, "resp-")
	})
	for _, v := range rows {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			rec := StartRecorder(t)
			c, err := net.Dial("tcp", start(t, rec.Addr))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go c.Write(v.Data)
			window := 500 * time.Millisecond
			if strings.HasPrefix(v.Name, "expect") {
				window = 1600 * time.Millisecond
			}
			if strings.Contains(v.Name, "trunc") {
				time.AfterFunc(100*time.Millisecond, func() { c.(*net.TCPConn).CloseWrite() })
			}
			answer, closed := readFor(c, window)
			got, faults := rec.Requests()
			checkVector(t, v, answers(t, answer), closed, got, faults)
		})
	}
}

// readFor collects what the connection gives until it closes or the time is
// over, and reports whether it closed.
func readFor(c net.Conn, d time.Duration) (got []byte, closed bool) {
	c.SetReadDeadline(time.Now().Add(d))
	got, err := io.ReadAll(c)
	return got, err == nil || !errors.Is(err, os.ErrDeadlineExceeded)
}

func checkVector(t *testing.T, v Vector, statuses []int, closed bool, got []Seen, faults []string) {
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
			ours := map[string]string{"x-forwarded-proto": "http", "x-forwarded-host": r.Host}[name]
			if claim && !slices.Equal(values, []string{cmp.Or(ours, "127.0.0.1")}) {
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
