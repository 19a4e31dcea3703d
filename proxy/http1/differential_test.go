package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/proxy/internal/webtest"
)

// A doubter is a backend that reads each request twice: by net/http and by a
// strict parser of our own. They have to agree, and to leave nothing over.
type doubter struct {
	mu     sync.Mutex // guards what follows
	got    []webtest.Seen
	faults []string
}

func (d *doubter) serve(c *net.TCPConn) {
	var text bytes.Buffer
	br := bufio.NewReader(io.TeeReader(c, &text))
	for {
		text.Reset()
		r, err := http.ReadRequest(br)
		if err != nil {
			d.end(text.String(), err)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			d.end(text.String(), err)
			return
		}
		d.compare(text.String(), r, string(body), br.Buffered())
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// end judges a request that did not come whole: its client was cut.
func (d *doubter) end(text string, err error) {
	if text != "" && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) && !isReset(err) {
		d.fault("net/http reads %q: %v", text, err)
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

func (d *doubter) compare(text string, r *http.Request, body string, left int) {
	s, err := webtest.ReadStrict(bufio.NewReader(strings.NewReader(text)))
	switch {
	case err != nil:
		d.fault("%q: %v", text, err)
	case left > 0:
		d.fault("%q: %d bytes are left over", text, left)
	case s.Method != r.Method || s.Target != r.RequestURI || s.Host != r.Host || s.Body != body:
		d.fault("%q: strict %s %s %s %q, net/http %s %s %s %q", text, s.Method, s.Target, s.Host, s.Body, r.Method, r.RequestURI, r.Host, body)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, s)
}

func (d *doubter) fault(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

// take gives what came since the last time.
func (d *doubter) take() ([]webtest.Seen, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	got, faults := d.got, d.faults
	d.got, d.faults = nil, nil
	return got, faults
}

// FuzzForward holds that each request which we send to a backend is read there
// as exactly one, and as the same one, by net/http and by a strict parser; and
// that the first of a connection is what net/http reads in the client's bytes.
func FuzzForward(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: x-real-ip, close\r\n\r\n",
		"PUT http://a.test/p HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
		"GET / HTTP/1.0\r\n\r\n",
		"\r\nHEAD //b HTTP/1.1\r\nHost: [::1]\r\nX_Forwarded_For: 1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
	} {
		f.Add(seed)
	}
	backend := &doubter{}
	front := startFront(f, webtest.StartBackend(f, backend.serve), nil)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 32<<10 {
			return
		}
		sendAll(t, front.Addr, text)
		got, faults := backend.take()
		for _, fault := range faults {
			t.Errorf("%q became %s", text, fault)
		}
		if len(got) > 0 {
			compareFirst(t, text, got[0])
		}
	})
}

// compareFirst compares what the backend saw first with what net/http makes of
// the client's bytes.
func compareFirst(t *testing.T, text string, saw webtest.Seen) {
	text = strings.TrimLeft(text, "\r\n") // empty lines in front are nothing: RFC 9112 §2.2
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatalf("%q: we send %+v, net/http reads %v", text, saw, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != saw.Method || string(body) != saw.Body || !strings.HasSuffix(r.RequestURI, strings.TrimPrefix(saw.Target, "/")) {
		t.Fatalf("%q: we send %s %s %q, net/http reads %s %s %q, %v", text, saw.Method, saw.Target, saw.Body, r.Method, r.RequestURI, body, err)
	}
}

// sendAll sends text and reads until the front has closed.
func sendAll(t *testing.T, addr, text string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, text)
	c.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, errTimeout) {
		t.Fatalf("%q: the connection does not end", text)
	}
}
