package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/acl"
)

// writeCert makes a certificate for names, valid for so long, and its key.
func writeCert(t *testing.T, valid time.Duration, names ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	mustWrite(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	mustWrite(t, key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	return cert, key
}

func mustWrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSiteTLS(t *testing.T) {
	listen := mustListen(t, "[::1]:0")
	site := func(name string) Site {
		cert, key := writeCert(t, time.Hour, name)
		return Site{Name: name, Listen: listen, To: mustBackend(t, startWeb(t, name)), Access: acl.AllowAll(), Cert: cert, Key: key}
	}
	s := start(t, Config{
		Sites:     []Site{site("a.test"), site("b.test")},
		Listeners: []Listener{{Listen: listen[0], TLS: true}},
	})
	for _, row := range []struct {
		name  string
		proto []string
		want  string // the first line of what the backend says, or the handshake's error
		how   string
	}{
		{"a.test", []string{"http/1.1"}, "backend a.test", "HTTP/1.1"},
		{"B.Test", []string{"http/1.1"}, "backend b.test", "HTTP/1.1"},
		{"a.test", []string{"h2", "http/1.1"}, "backend a.test", "HTTP/2.0"},
		{"b.test", []string{"h2"}, "backend b.test", "HTTP/2.0"},
		{"c.test", []string{"h2"}, "remote error: tls: internal error", ""},
	} {
		status, how, body := askTLS(t, s.at(t, "::1"), row.name, row.proto)
		if first, _, _ := strings.Cut(body, "\n"); first != row.want || how != row.how || how != "" && status != 200 {
			t.Errorf("%s by %q: %d %s %q, want %q by %s", row.name, row.proto, status, how, first, row.want, row.how)
		}
		if how != "" && !strings.Contains(body, "X-Forwarded-Proto: https\n") {
			t.Errorf("%s: the backend does not learn of TLS: %s", row.name, body)
		}
	}
}

// askTLS makes one request by the protocol that the server chooses.
func askTLS(t *testing.T, addr, name string, protos []string) (status int, how, body string) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, NextProtos: protos, InsecureSkipVerify: true})
	if err != nil {
		return 0, "", err.Error()
	}
	defer conn.Close()
	tr := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Protocols:      new(http.Protocols),
	}
	defer tr.CloseIdleConnections()
	tr.Protocols.SetHTTP1(true)
	tr.Protocols.SetHTTP2(true)
	r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+name+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Proto, string(text)
}

// A TLS connection goes on after each request: pipelined ones, one with a long
// body, and one behind it.
func TestSiteTLSKeepsAlive(t *testing.T) {
	cert, key := writeCert(t, time.Hour, "a.test")
	listen := mustListen(t, "[::1]:0")
	s := start(t, Config{
		Sites:     []Site{{Name: "a.test", Listen: listen, To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(), Cert: cert, Key: key}},
		Listeners: []Listener{{Listen: listen[0], TLS: true}},
	})
	conn, err := tls.Dial("tcp", s.at(t, "::1"), &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	br := bufio.NewReader(conn)
	long := strings.Repeat("0123456789", 20_000)
	for round := range 3 {
		get := fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n", round)
		post := fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", round, len(long), long)
		if _, err := io.WriteString(conn, strings.Repeat(get, 5)+post+get); err != nil {
			t.Fatal(err)
		}
		for i := range 7 {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("round %d, answer %d: %v", round, i, err)
			}
			body, err := io.ReadAll(resp.Body)
			want := fmt.Sprintf("backend b\nGET /%d host=a.test body=\"\"", round)
			if i == 5 {
				want = fmt.Sprintf("backend b\nPOST /%d host=a.test body=%q", round, long)
			}
			if err != nil || !strings.HasPrefix(string(body), want) {
				t.Fatalf("round %d, answer %d: %.80q, %v", round, i, body, err)
			}
		}
	}
}

// A site with TLS is served over HTTP/3 too, and says so; a request under way
// is finished at the stop.
func TestSiteHTTP3(t *testing.T) {
	entered, release := make(chan bool, 1), make(chan bool)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- true
			<-release
		}
		fmt.Fprint(w, r.Host, " ", r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"))
	}))
	t.Cleanup(backend.Close)
	cert, key := writeCert(t, time.Hour, "a.test")
	listen := mustListen(t, fmt.Sprintf("[::1]:%d", freePort(t)))
	s := start(t, Config{
		Sites:     []Site{{Name: "a.test", Listen: listen, To: mustBackend(t, strings.TrimPrefix(backend.URL, "http://")), Access: acl.AllowAll(), Cert: cert, Key: key}},
		Listeners: []Listener{{Listen: listen[0], TLS: true}},
	})
	addr := netip.AddrPortFrom(listen[0].Addr.Netip(), listen[0].Port).String()
	tr := &quichttp.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"},
		Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, addr, tc, qc)
		},
	}
	defer tr.Close()
	get := func(path string) (string, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://a.test"+path, nil)
		if err != nil {
			return "", err
		}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	if body, err := get("/"); err != nil || body != "a.test ::1 https" {
		t.Errorf("%q %v", body, err)
	}
	slow := make(chan string)
	go func() {
		body, err := get("/slow")
		slow <- fmt.Sprint(body, " ", err)
	}()
	<-entered
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	poll(t, "the TCP listener stays open", func() bool {
		probe, err := net.Dial("tcp", addr)
		if err == nil {
			probe.Close()
		}
		return err != nil
	})
	close(release)
	if body := <-slow; body != "a.test ::1 https <nil>" {
		t.Errorf("request under way at the stop: %s", body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// HTTP/2 with prior knowledge is served on a plain listener.
func TestSitePlainHTTP2(t *testing.T) {
	s := start(t, Config{Sites: []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll()}}})
	addr := s.at(t, "::1")
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
		Protocols: new(http.Protocols),
	}
	defer tr.CloseIdleConnections()
	tr.Protocols.SetUnencryptedHTTP2(true)
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://a.test/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(body), "backend b\nGET /x host=a.test") {
		t.Errorf("%q %v", body, err)
	}
}

func TestSiteTLSMistakes(t *testing.T) {
	listen := mustListen(t, "[::1]:443")
	cert, key := writeCert(t, time.Hour, "a.test")
	_, oldKey := writeCert(t, -time.Hour, "a.test")
	for _, row := range []struct{ cert, key, want string }{
		{cert, "", `site "a.test": cert and key belong together; write both`},
		{cert, oldKey, `tls: private key does not match public key; want PEM files, the key of the first certificate`},
		{"/nowhere/cert.pem", key, `site "a.test": cert "/nowhere/cert.pem": no such file or directory`},
	} {
		_, err := New(Config{Sites: []Site{{Name: "a.test", Listen: listen, To: mustBackend(t, "127.0.0.1:8"), Access: acl.AllowAll(), Cert: row.cert, Key: row.key}}})
		if err == nil || !strings.HasSuffix(err.Error(), row.want) {
			t.Errorf("cert %s key %s: %v, want %s", row.cert, row.key, err, row.want)
		}
	}
}
