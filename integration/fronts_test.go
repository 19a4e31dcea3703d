package integration

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// secureSite is a site over TLS at the tunnel and at IPv4.
func secureSite(t *testing.T, to string) string {
	cert, key := mustCert(t)
	return tunnelConfig + fmt.Sprintf("\n[site.secure]\nhosts = [\"default\"]\nlisten = [\"tunnel:443\", \"%s:443\"]\nto = \"%s:%s\"\ncert = %q\nkey = %q\n",
		lab.FrontV4, lab.BackendV4, to, cert, key)
}

// curl reaches an Apache that speaks plain HTTP/1.1 by HTTP/1.1 and HTTP/2 over
// TLS, of both families, and Apache's log has each.
func TestCurlSpeaksHTTP1AndHTTP2(t *testing.T) {
	w := mustWorld(t)
	a := servers.StartApache(t, w.Lab, "Require all granted")
	w.front(t, secureSite(t, "80"))
	for _, c := range clients[:2] {
		for _, version := range []string{"1.1", "2"} {
			path := "?" + c.name + "-" + version
			status, body := curl(t, w.client(c.addr), "--interface", c.addr, "--insecure", "--http"+version, "--write-out", "\n%{http_version}\n%{http_code}",
				"--connect-to", "www.example.jp:443:"+c.to+":443", "https://www.example.jp/"+path)
			page, spoken, _ := cutLast(body, "\n")
			if status != 200 || page != servers.Page || spoken != version {
				t.Errorf("%s: %d by HTTP/%s %q, want 200 by HTTP/%s", c.name, status, spoken, page, version)
			}
			a.WaitLog(t, fmt.Sprintf(`peer=%s xff=%s "GET /%s HTTP/1.1" 200`, lab.InsideV4, c.addr, path))
		}
	}
}

// HTTP/3 through the tunnel of 1280 bytes: the handshake, and 10 MB each way.
func TestHTTP3ThroughTunnel(t *testing.T) {
	const size = 10 << 20
	w := mustWorld(t)
	startHandler(t, w, lab.BackendV4.String()+":8080", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		w.Header().Set("X-Got", fmt.Sprintf("%d %x %v %s", n, h.Sum(nil), err, r.Header.Get("X-Forwarded-For")))
		_, _ = io.Copy(w, io.LimitReader(rand.NewChaCha8([32]byte{2}), size))
	})
	w.front(t, secureSite(t, "8080"))
	for _, c := range clients[:2] {
		resp := w.askHTTP3(t, c.addr, c.to, io.LimitReader(rand.NewChaCha8([32]byte{1}), size))
		got := sha256.New()
		n, err := io.Copy(got, resp.Body)
		if err != nil || n != size || fmt.Sprintf("%x", got.Sum(nil)) != sumOfSeed(2, size) {
			t.Errorf("%s: %d bytes down, %v; want the %d that were sent", c.name, n, err, size)
		}
		if want := fmt.Sprintf("%d %s <nil> %s", size, sumOfSeed(1, size), c.addr); resp.Header.Get("X-Got") != want {
			t.Errorf("%s: the backend got %q, want %q", c.name, resp.Header.Get("X-Got"), want)
		}
	}
}

func sumOfSeed(seed byte, size int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, io.LimitReader(rand.NewChaCha8([32]byte{seed}), size))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// askHTTP3 posts body over HTTP/3 from a client's namespace.
func (w *world) askHTTP3(t *testing.T, from, to string, body io.Reader) *http.Response {
	t.Helper()
	var udp *net.UDPConn
	err := w.client(from).Do(func() (err error) {
		udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: udp}
	h3 := &quichttp.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.test"},
		QUICConfig:      &quic.Config{InitialPacketSize: 1200},
		Dial: func(ctx context.Context, addr string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			at, err := net.ResolveUDPAddr("udp", addr)
			if err != nil {
				return nil, err
			}
			return tr.Dial(ctx, at, tc, qc)
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(func() {
		cancel()
		h3.Close()
		tr.Close()
		udp.Close()
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+to+":443/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h3.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// startHandler serves h at the backend.
func startHandler(t *testing.T, w *world, addr string, h http.HandlerFunc) {
	t.Helper()
	var l net.Listener
	err := w.Backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Close(); <-done })
}
