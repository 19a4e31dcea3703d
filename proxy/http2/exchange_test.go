package http2_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"genkan/proxy/http2"
	"genkan/proxy/internal/webtest"
)

// startHTTP is a backend on net/http, which is as good as any.
func startHTTP(t testing.TB, h http.HandlerFunc) string {
	ln := webtest.MustListen(t)
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// dialH2 is a client with prior knowledge.
func dialH2(t testing.TB) *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func mustRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBodiesPassUnchanged(t *testing.T) {
	data := make([]byte, 5_000_000)
	rand.NewChaCha8([32]byte{1}).Read(data)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		w.Header().Set("X-Sum", fmt.Sprintf("%d %x %v", n, h.Sum(nil), err))
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", fmt.Sprint(n))
		}
		w.Write(data[:n])
	})
	f, tr := startFront(t, addr, nil), dialH2(t)
	var wg sync.WaitGroup
	for _, size := range []int{0, 1, 100, 16 << 10, 64<<10 + 1, 1_000_000, 5_000_000} {
		for _, kind := range []string{"length", "stream"} {
			wg.Go(func() {
				var body io.Reader = bytes.NewReader(data[:size])
				if kind == "stream" {
					body = io.MultiReader(body)
				}
				resp, err := tr.RoundTrip(mustRequest(t, "POST", "http://"+f.Addr+"/?"+kind, body))
				if err != nil {
					t.Errorf("%s %d: %v", kind, size, err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				sum := fmt.Sprintf("%d %x <nil>", size, sha256.Sum256(data[:size]))
				if err != nil || !bytes.Equal(got, data[:size]) || resp.Header.Get("X-Sum") != sum {
					t.Errorf("%s %d: answer of %d bytes, %v; backend had %s, want %s", kind, size, len(got), err, resp.Header.Get("X-Sum"), sum)
				}
			})
		}
	}
	wg.Wait()
}

func TestTrailerOfAnswer(t *testing.T) {
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status, Set-Cookie")
		io.WriteString(w, "hello")
		w.(http.Flusher).Flush()
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set("Set-Cookie", "evil")
	})
	f, tr := startFront(t, addr, nil), dialH2(t)
	resp, err := tr.RoundTrip(mustRequest(t, "GET", "http://"+f.Addr+"/", nil))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if string(body) != "hello" || err != nil || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Set-Cookie") != "" {
		t.Errorf("%q %v trailer %q", body, err, resp.Trailer)
	}
}

// A backend's cut answer is a reset stream, not an end.
func TestCutAnswerIsVisible(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		addr := webtest.StartBackend(t, func(c *net.TCPConn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, answer)
		})
		f, tr := startFront(t, addr, nil), dialH2(t)
		resp, err := tr.RoundTrip(mustRequest(t, "GET", "http://"+f.Addr+"/", nil))
		if err != nil {
			t.Fatal(err)
		}
		var reset h2.StreamError
		if _, err := io.ReadAll(resp.Body); !errors.As(err, &reset) {
			t.Errorf("%q: %v, want a reset stream", answer, err)
		}
	}
}

// A client that gives up ends the work at the backend.
func TestResetReachesBackend(t *testing.T) {
	entered, left := make(chan bool, 1), make(chan bool, 1)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
		left <- true
	})
	f, tr := startFront(t, addr, nil), dialH2(t)
	r := mustRequest(t, "GET", "http://"+f.Addr+"/", nil)
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		<-entered
		cancel()
	}()
	if _, err := tr.RoundTrip(r.WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("RoundTrip: %v", err)
	}
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the backend still works for a client that has gone")
	}
}

func TestSlowBodyIsAnswered408(t *testing.T) {
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	f := startFront(t, addr, func(c *http2.Config) { c.BodyGrace = 50 * time.Millisecond })
	pr, pw := io.Pipe()
	defer pw.Close()
	go io.WriteString(pw, "x")
	resp, err := dialH2(t).RoundTrip(mustRequest(t, "POST", "http://"+f.Addr+"/", pr))
	if err != nil || resp.StatusCode != 408 {
		t.Errorf("%v %v, want 408", resp, err)
	}
}

func TestDrainFinishesStreams(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-release
		io.WriteString(w, strings.Repeat("x", 100_000))
	})
	f, tr := startFront(t, addr, nil), dialH2(t)
	done := make(chan string)
	go func() {
		resp, err := tr.RoundTrip(mustRequest(t, "GET", "http://"+f.Addr+"/", nil))
		if err != nil {
			done <- err.Error()
			return
		}
		body, err := io.ReadAll(resp.Body)
		done <- fmt.Sprint(len(body), err)
	}()
	<-entered
	f.server.Drain()
	close(release)
	if got := <-done; got != "100000<nil>" && got != "100000 <nil>" {
		t.Errorf("answer %s, want all of it", got)
	}
}
