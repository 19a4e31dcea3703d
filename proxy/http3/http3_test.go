package http3_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"
	"go.uber.org/goleak"

	"genkan/acl"
	"genkan/proxy/http3"
	"genkan/proxy/internal/webtest"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

type front struct {
	addr   string
	server *http3.Server
	socket *http3.Socket
	udp    *net.UDPConn
}

// startFront is our proxy on a UDP socket of its own, in front of one backend.
func startFront(t *testing.T, backend string, edit func(*http3.Config)) *front {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return startFrontOn(t, udp, nil, backend, edit)
}

// startFrontOn is startFront with a socket that older may share.
func startFrontOn(t *testing.T, udp *net.UDPConn, older *http3.Older, backend string, edit func(*http3.Config)) *front {
	t.Helper()
	f := &front{udp: udp, socket: http3.NewSocket(udp, older, nil)}
	handlers := make(chan message.Handler, 1)
	// The TCP side only gives us its handler.
	tcp := webtest.StartFront(t, backend, sweep.New(), func(c net.Conn, _ message.Source, h message.Handler) {
		handlers <- h
		c.Close()
	}, func() {}, nil)
	c, err := net.Dial("tcp", tcp.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := <-handlers
	cfg := http3.Config{Accept: func(client, local netip.AddrPort, cs *tls.ConnectionState) (message.Source, message.Handler, bool) {
		from := message.Source{Client: acl.Client{Addr: acl.AddrFrom(client.Addr())}, Local: local, TLS: true, ServerName: cs.ServerName}
		return from, h, true
	}}
	if edit != nil {
		edit(&cfg)
	}
	f.server = http3.NewServer(cfg)
	f.addr = udp.LocalAddr().String()
	done := make(chan error)
	config := &tls.Config{GetCertificate: selfSigned(t), NextProtos: []string{"h3"}}
	go func() { done <- f.server.Serve(f.socket, config) }()
	t.Cleanup(func() {
		f.server.Close()
		f.socket.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

func selfSigned(t *testing.T) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
}

// dial is a client of f.
func (f *front) dial(t *testing.T) *quichttp.Transport {
	tr := &quichttp.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"},
		QUICConfig:      &quic.Config{InitialPacketSize: 1200},
		Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, f.addr, tc, qc)
		},
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func startHTTP(t *testing.T, h http.HandlerFunc) string {
	ln := webtest.MustListen(t)
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

func mustRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
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
	data := make([]byte, 2_000_000)
	rand.Read(data)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		w.Header().Set("X-Sum", fmt.Sprintf("%d %x %v", n, h.Sum(nil), err))
		w.Write(data[:n])
	})
	tr := startFront(t, addr, nil).dial(t)
	var wg sync.WaitGroup
	for _, size := range []int{0, 1, 16 << 10, 100_000, 2_000_000} {
		for _, kind := range []string{"length", "stream"} {
			wg.Go(func() {
				var body io.Reader = bytes.NewReader(data[:size])
				if kind == "stream" {
					body = io.MultiReader(body)
				}
				resp, err := tr.RoundTrip(mustRequest(t, "POST", "https://a.test/", body))
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

// What reaches the backend is one canonical request, without content where
// the client sent none.
func TestRequestIsCanonical(t *testing.T) {
	rec := webtest.StartRecorder(t)
	tr := startFront(t, rec.Addr, nil).dial(t)
	r := mustRequest(t, "GET", "https://A.test:443/x?y", nil)
	r.Header.Set("X-Forwarded-For", "10.1.1.1")
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "ok" || err != nil || resp.StatusCode != 200 {
		t.Errorf("%s %q %v", resp.Status, body, err)
	}
	got, faults := rec.Requests()
	if len(got) != 1 || len(faults) != 0 || got[0].Method != "GET" || got[0].Target != "/x?y" || got[0].Host != "a.test:443" ||
		fmt.Sprint(got[0].Header["x-forwarded-for"]) != "[127.0.0.1]" || got[0].Header["transfer-encoding"] != nil {
		t.Errorf("the backend got %q %q", got, faults)
	}
}

func TestRefused(t *testing.T) {
	rec := webtest.StartRecorder(t)
	tr := startFront(t, rec.Addr, nil).dial(t)
	for _, row := range []struct {
		edit   func(*http.Request)
		status int
	}{
		{func(r *http.Request) { r.Host = "a.test:99999" }, 400},
		{func(r *http.Request) { r.Host = "127.1" }, 400},
		{func(r *http.Request) { r.Header.Set("Expect", "x") }, 417},
		{func(r *http.Request) { r.URL.Path = "/" + string(bytes.Repeat([]byte("a"), 9000)) }, 414},
	} {
		r := mustRequest(t, "GET", "https://a.test/", nil)
		row.edit(r)
		resp, err := tr.RoundTrip(r)
		if err != nil || resp.StatusCode != row.status {
			t.Errorf("%v %v, want %d", resp, err, row.status)
		}
	}
	if got, _ := rec.Requests(); len(got) > 0 {
		t.Errorf("the backend got %q", got)
	}
}

func TestCutAnswerIsVisible(t *testing.T) {
	addr := webtest.StartBackend(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	})
	resp, err := startFront(t, addr, nil).dial(t).RoundTrip(mustRequest(t, "GET", "https://a.test/", nil))
	if err == nil {
		_, err = io.ReadAll(resp.Body)
	}
	var reset *quichttp.Error
	if !errors.As(err, &reset) {
		t.Errorf("%v, want a reset stream", err)
	}
}

func TestResetReachesBackend(t *testing.T) {
	entered, left := make(chan bool, 1), make(chan bool, 1)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
		left <- true
	})
	r := mustRequest(t, "GET", "https://a.test/", nil)
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		<-entered
		cancel()
	}()
	startFront(t, addr, nil).dial(t).RoundTrip(r.WithContext(ctx))
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the backend still works for a client that has gone")
	}
}

func TestSlowBodyIsAnswered408(t *testing.T) {
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	f := startFront(t, addr, func(c *http3.Config) { c.BodyGrace = 50 * time.Millisecond })
	pr, pw := io.Pipe()
	defer pw.Close()
	go io.WriteString(pw, "x")
	resp, err := f.dial(t).RoundTrip(mustRequest(t, "POST", "https://a.test/", pr))
	if err != nil || resp.StatusCode != 408 {
		t.Errorf("%v %v, want 408", resp, err)
	}
}
