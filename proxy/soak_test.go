package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A soak is a site over all versions of HTTP with a backend that misbehaves:
// it cuts answers, closes connections that wait, is slow, and starts anew.
type soak struct {
	t     *testing.T
	addr  string
	posts sync.Map // tag → *atomic.Int32

	mu    sync.Mutex // guards what follows
	ln    net.Listener
	conns map[net.Conn]bool
	done  sync.WaitGroup

	whole, refused, cut, late atomic.Int64
}

// TestSoak sends tagged requests over HTTP/1, HTTP/2 and HTTP/3 at once, while
// clients leave half-way or read slowly, and the backend misbehaves. Whoever
// gets a whole answer gets his own, whoever does not can tell, and nothing is
// sent twice that must not be.
func TestSoak(t *testing.T) {
	requests := 4_000
	if os.Getenv("GENKAN_RELIABILITY") == "long" {
		requests = 1_000_000
	}
	k := &soak{t: t, addr: unusedAddr(t), conns: map[net.Conn]bool{}}
	k.listen()
	defer k.shut()
	_, clients, addr := startFronts(t, k.addr, nil)
	stop := make(chan struct{})
	var restarting, asking sync.WaitGroup
	restarting.Go(func() { k.restart(stop) })
	var next atomic.Int64
	for i := range 24 {
		c := clients[i%3]
		if i >= 18 { // connections of their own
			c = frontClients(t, addr)[i%3]
		}
		asking.Go(func() {
			for n := next.Add(1); n <= int64(requests); n = next.Add(1) {
				k.ask(c, fmt.Sprintf("/%09d/", n))
			}
		})
	}
	asking.Wait()
	close(stop)
	restarting.Wait()
	t.Logf("%d whole, %d refused, %d cut, %d late", k.whole.Load(), k.refused.Load(), k.cut.Load(), k.late.Load())
	if k.whole.Load() < int64(requests)/4 { // on a slow machine the backend is away for much of the time
		t.Errorf("%d whole answers of %d", k.whole.Load(), requests)
	}
	if k.late.Load() > int64(requests)/1000 {
		t.Errorf("%d requests of %d had no end within %v", k.late.Load(), requests, patience)
	}
}

// restart ends the backend with all of its connections now and then.
func (k *soak) restart(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(400 * time.Millisecond):
			k.shut()
			k.listen()
		}
	}
}

func (k *soak) listen() {
	ln, err := net.Listen("tcp4", k.addr)
	if err != nil {
		k.t.Error(err)
		return
	}
	k.mu.Lock()
	k.ln = ln
	k.mu.Unlock()
	k.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			k.mu.Lock()
			k.conns[c] = true
			k.mu.Unlock()
			k.done.Go(func() { k.serve(c) })
		}
	})
}

func (k *soak) shut() {
	k.mu.Lock()
	if k.ln != nil {
		k.ln.Close()
	}
	for c := range k.conns {
		c.Close()
	}
	k.mu.Unlock()
	k.done.Wait()
}

func (k *soak) serve(c net.Conn) {
	defer func() {
		c.Close()
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.conns, c)
	}()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		tag := r.URL.Path
		if r.Method == "POST" {
			n, _ := k.posts.LoadOrStore(tag, new(atomic.Int32))
			if n.(*atomic.Int32).Add(1) > 1 {
				k.t.Errorf("POST %s came twice", tag)
			}
			if len(bytes.ReplaceAll(body, []byte(tag), nil)) > 0 || len(body) == 0 {
				k.t.Errorf("POST %s brought %d bytes of another", tag, len(body))
			}
		}
		if !answerSoak(c, tag) {
			return
		}
	}
}

// answerSoak answers, and reports whether the connection goes on.
func answerSoak(c net.Conn, tag string) bool {
	text := strings.Repeat(tag, 1+rand.IntN(4000))
	sized := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(text)) + "\r\n\r\n"
	switch rand.IntN(60) {
	case 0:
		io.WriteString(c, sized+text[:len(text)/2])
		return false
	case 1:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(text), text)
		return false
	case 2:
		io.WriteString(c, sized+text+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
	case 3:
		return false
	case 4:
		io.WriteString(c, sized+text)
		return false
	case 5:
		c.(*net.TCPConn).SetLinger(0)
		io.WriteString(c, sized+text[:len(text)/3])
		return false
	case 6, 7, 8, 9, 10, 11, 12:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
	default:
		io.WriteString(c, sized+text)
	}
	return true
}

// ask makes one request, or gives it up half-way, and judges what came of it.
func (k *soak) ask(c frontClient, tag string) {
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	method, body := "GET", io.Reader(nil)
	switch text := strings.Repeat(tag, 1+rand.IntN(3000)); rand.IntN(4) {
	case 0:
		method, body = "POST", strings.NewReader(text)
	case 1:
		method, body = "POST", struct{ io.Reader }{strings.NewReader(text)} // of no known length
	}
	whole := ctx
	if rand.IntN(40) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
		defer cancel()
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://a.test"+tag, body)
	if err != nil {
		k.t.Error(err)
		return
	}
	resp, err := c.RoundTrip(r)
	if err != nil {
		k.broken(whole)
		return
	}
	defer resp.Body.Close()
	slow := io.Reader(resp.Body)
	if rand.IntN(20) == 0 {
		slow = &slowReader{resp.Body}
	}
	got, err := io.ReadAll(slow)
	switch {
	case err != nil:
		k.broken(whole)
	case resp.StatusCode != 200:
		k.refused.Add(1)
	case len(bytes.ReplaceAll(got, []byte(tag), nil)) > 0 || len(got) == 0:
		k.t.Errorf("%s %s %s: %d bytes of another's answer", c.version, method, tag, len(got))
	default:
		k.whole.Add(1)
	}
}

// broken counts a request that had no whole answer, in the time that it had.
func (k *soak) broken(ctx context.Context) {
	if ctx.Err() != nil {
		k.late.Add(1)
		return
	}
	k.cut.Add(1)
}

// A slowReader reads little at a time.
type slowReader struct{ io.Reader }

func (s *slowReader) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.Reader.Read(p[:min(len(p), 2000)])
}
