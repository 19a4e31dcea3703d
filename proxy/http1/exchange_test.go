package http1_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"genkan/proxy/http1"
	"genkan/proxy/internal/webtest"
)

// patience is the deadline of everything that should take milliseconds.
const patience = 20 * time.Second

// startHTTP is a backend on net/http, which is as good as any.
func startHTTP(t testing.TB, h http.HandlerFunc) string {
	ln := webtest.MustListen(t)
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// A client speaks HTTP/1 by hand.
type client struct {
	*net.TCPConn
	br *bufio.Reader
}

func dialClient(t testing.TB, addr string) *client {
	c := mustDial(t, addr)
	c.SetDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(c)}
}

func (c *client) send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads one answer and its content.
func (c *client) answer(t testing.TB, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("content: %v", err)
	}
	resp.Body.Close()
	return resp, string(body)
}

func (c *client) checkClosed(t testing.TB) {
	t.Helper()
	if b, err := c.br.ReadByte(); err != io.EOF {
		t.Errorf("after the answer: %q, %v; want the end", b, err)
	}
}

const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

func TestKeepAliveReusesBothSides(t *testing.T) {
	var conns atomic.Int32
	addr := webtest.StartBackend(t, func(c *net.TCPConn) {
		n := conns.Add(1)
		br := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		}
	})
	f := startFront(t, addr, nil)
	c := dialClient(t, f.Addr)
	for range 5 {
		c.send(t, get)
		if _, body := c.answer(t, "GET"); body != "1" {
			t.Fatalf("answered by backend connection %s, want 1", body)
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	f := startFront(t, addr, nil)
	c := dialClient(t, f.Addr)
	var all strings.Builder
	for i := range 50 {
		fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n", i)
	}
	c.send(t, all.String())
	for i := range 50 {
		if _, body := c.answer(t, "GET"); body != fmt.Sprintf("/%d", i) {
			t.Fatalf("answer %d is for %q", i, body)
		}
	}
}

// startQuitter answers one request on each connection and closes it as the
// second arrives, as a backend does whose keep-alive time is over.
func startQuitter(t *testing.T, count *atomic.Int32) string {
	return webtest.StartBackend(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		count.Add(1)
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		http.ReadRequest(br)
	})
}

func TestIdempotentRequestIsSentAgain(t *testing.T) {
	var count atomic.Int32
	f := startFront(t, startQuitter(t, &count), nil)
	c := dialClient(t, f.Addr)
	for i := range 10 {
		c.send(t, get)
		if resp, _ := c.answer(t, "GET"); resp.StatusCode != 200 {
			t.Fatalf("request %d: %s", i, resp.Status)
		}
	}
	if count.Load() != 10 {
		t.Errorf("the backend answered %d, want 10", count.Load())
	}
}

func TestOtherRequestIsNotSentAgain(t *testing.T) {
	var count atomic.Int32
	f := startFront(t, startQuitter(t, &count), nil)
	c := dialClient(t, f.Addr)
	post := "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
	c.send(t, post)
	c.answer(t, "POST")
	c.send(t, post)
	if resp, _ := c.answer(t, "POST"); resp.StatusCode != 502 {
		t.Errorf("second POST: %s, want 502", resp.Status)
	}
	if count.Load() != 1 {
		t.Errorf("the backend answered %d, want 1", count.Load())
	}
}

func TestBodiesPassUnchanged(t *testing.T) {
	sum := func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, _ := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
	}
	f := startFront(t, startHTTP(t, sum), nil)
	rnd := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{1, 100, 16 << 10, 16<<10 + 1, 100_000, 5_000_000} {
		data := make([]byte, size)
		rnd.Read(data)
		for _, kind := range []string{"length", "chunked"} {
			var body io.Reader = bytes.NewReader(data)
			if kind == "chunked" {
				body = io.MultiReader(body)
			}
			tr := &http.Transport{DisableKeepAlives: true}
			req, _ := http.NewRequest("POST", "http://"+f.Addr+"/", body)
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s %d: %v", kind, size, err)
			}
			got, _ := io.ReadAll(resp.Body)
			if want := fmt.Sprintf("%d %x", size, sha256.Sum256(data)); string(got) != want {
				t.Errorf("%s %d: backend has %s, want %s", kind, size, got, want)
			}
		}
	}
}

func TestAnswersPassUnchanged(t *testing.T) {
	data := make([]byte, 20_000_000)
	rand.NewChaCha8([32]byte{2}).Read(data)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		var size int
		fmt.Sscanf(r.URL.Path, "/%d", &size)
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		w.Write(data[:size])
	})
	f := startFront(t, addr, nil)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for _, size := range []int{0, 1, 1000, 15_900, 16 << 10, 64 << 10, 1_000_000, 20_000_000} {
		for _, kind := range []string{"length", "chunked"} {
			req, _ := http.NewRequest("GET", fmt.Sprintf("http://%s/%d?%s", f.Addr, size, kind), nil)
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s %d: %v", kind, size, err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, data[:size]) {
				t.Errorf("%s: %d bytes, %v; want the %d that were sent", kind, len(got), err, size)
			}
		}
	}
}

func TestExpectContinue(t *testing.T) {
	body := strings.Repeat("x", 100)
	post := "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
	t.Run("wanted", func(t *testing.T) {
		addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, len(b))
		})
		c := dialClient(t, startFront(t, addr, nil).Addr)
		c.send(t, post)
		if resp, _ := c.answer(t, "POST"); resp.StatusCode != 100 {
			t.Fatalf("first answer %s, want 100", resp.Status)
		}
		c.send(t, body)
		if _, got := c.answer(t, "POST"); got != "100" {
			t.Errorf("backend has %s bytes, want 100", got)
		}
		c.send(t, get)
		c.answer(t, "GET")
	})
	t.Run("refused", func(t *testing.T) {
		addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(413) })
		c := dialClient(t, startFront(t, addr, nil).Addr)
		c.send(t, post)
		if resp, _ := c.answer(t, "POST"); resp.StatusCode != 413 || !resp.Close {
			t.Errorf("answer %s, close %v; want 413 and close", resp.Status, resp.Close)
		}
		c.checkClosed(t)
	})
	t.Run("backend_does_not_know", func(t *testing.T) {
		addr := webtest.StartBackend(t, func(c *net.TCPConn) {
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%d", len(b))
		})
		c := dialClient(t, startFront(t, addr, func(_ *http1.Config, tc *http1.TransportConfig) {
			tc.ContinueTimeout = 10 * time.Millisecond
		}).Addr)
		c.send(t, post)
		c.answer(t, "POST")
		c.send(t, body)
		if _, got := c.answer(t, "POST"); got != "100" {
			t.Errorf("backend has %s bytes, want 100", got)
		}
	})
}

// A backend that refuses an upload before it has read it: the client must
// see the refusal, not a reset.
func TestEarlyAnswerToUpload(t *testing.T) {
	addr := webtest.StartBackend(t, func(c *net.TCPConn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
		c.CloseWrite()
		io.Copy(io.Discard, c)
	})
	c := dialClient(t, startFront(t, addr, nil).Addr)
	c.send(t, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n")
	c.send(t, strings.Repeat("x", 100_000))
	resp, body := c.answer(t, "POST")
	if resp.StatusCode != 413 || body != "no!" || !resp.Close {
		t.Errorf("answer %s %q, close %v; want 413 and close", resp.Status, body, resp.Close)
	}
}

func TestHTTP10(t *testing.T) {
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
		}
	})
	f := startFront(t, addr, nil)
	for _, row := range []struct{ name, request, connection string }{
		{"closes", "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", "close"},
		{"keeps_when_asked", "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n", "keep-alive"},
		{"no_chunks", "GET /stream HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n", "close"},
		{"no_host", "GET / HTTP/1.0\r\n\r\n", "close"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := dialClient(t, f.Addr)
			c.send(t, row.request)
			head, err := http.ReadResponse(c.br, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(head.Body)
			if err != nil || string(body) != "hello" || len(head.TransferEncoding) > 0 {
				t.Errorf("content %q, %v, coding %q", body, err, head.TransferEncoding)
			}
			if row.connection == "close" {
				c.checkClosed(t)
			} else if got := head.Header.Get("Connection"); got != row.connection {
				t.Errorf("Connection: %q, want %q", got, row.connection)
			}
		})
	}
}

func TestHeadAndNotModified(t *testing.T) {
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1234")
		if r.Method == "GET" {
			w.Header().Set("ETag", `"x"`)
			w.WriteHeader(304)
		}
	})
	c := dialClient(t, startFront(t, addr, nil).Addr)
	c.send(t, strings.Replace(get, "GET", "HEAD", 1))
	if resp, body := c.answer(t, "HEAD"); resp.StatusCode != 200 || resp.ContentLength != 1234 || body != "" {
		t.Errorf("HEAD: %s, length %d, %q", resp.Status, resp.ContentLength, body)
	}
	c.send(t, get)
	if resp, body := c.answer(t, "GET"); resp.StatusCode != 304 || body != "" || resp.Header.Get("ETag") != `"x"` {
		t.Errorf("GET: %s %q", resp.Status, body)
	}
}

func TestWebsocket(t *testing.T) {
	addr := webtest.StartBackend(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
			t.Errorf("the backend got %v %v", r, err)
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nearly")
		io.Copy(c, br)
	})
	c := dialClient(t, startFront(t, addr, nil).Addr)
	c.send(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\nfirst")
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Accept") != "x" {
		t.Fatalf("answer %v %v", resp, err)
	}
	c.send(t, "second")
	got := make([]byte, len("earlyfirstsecond"))
	if _, err := io.ReadFull(c.br, got); err != nil || string(got) != "earlyfirstsecond" {
		t.Errorf("relayed %q, %v", got, err)
	}
}

func TestEarlyHintsAndStream(t *testing.T) {
	next := make(chan string)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(103)
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		for s := range next {
			io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	})
	c := dialClient(t, startFront(t, addr, nil).Addr)
	c.send(t, get)
	if resp, _ := c.answer(t, "GET"); resp.StatusCode != 103 || resp.Header.Get("Link") == "" {
		t.Fatalf("first answer %s %q", resp.Status, resp.Header)
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("answer %v %v", resp, err)
	}
	for i := range 5 {
		event := fmt.Sprintf("data: %d\n\n", i)
		next <- event
		got := make([]byte, len(event))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != event {
			t.Fatalf("event %q, %v; want %q", got, err, event)
		}
	}
	close(next)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
}
