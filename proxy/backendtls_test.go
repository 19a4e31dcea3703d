package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"genkan/acl"
)

// A secureBackend is a web server that speaks TLS with a certificate of its own.
type secureBackend struct {
	addr, cert string
	conns      atomic.Int64
	sni        atomic.Value
}

// startSecure serves h over TLS, with the protocols that are named.
func startSecure(t *testing.T, h http.HandlerFunc, name string, protos ...string) *secureBackend {
	t.Helper()
	b := &secureBackend{}
	var key string
	b.cert, key = writeCert(t, time.Hour, name)
	pair, err := tls.LoadX509KeyPair(b.cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols), ErrorLog: quiet(), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			b.conns.Add(1)
		}
	}}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.TLSConfig = &tls.Config{NextProtos: protos, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		b.sni.Store(hello.ServerName)
		return &pair, nil
	}}
	go srv.ServeTLS(ln, "", "")
	t.Cleanup(func() { srv.Close() })
	return b
}

// A backend behind https:// is believed by its certificate only, and its
// connections are used again.
func TestBackendTLS(t *testing.T) {
	own := startSecure(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %d %v", r.Proto, r.Host, r.Method, len(body), err)
	}, "app.internal", "h2", "http/1.1")
	other, _ := writeCert(t, time.Hour, "app.internal")
	for _, row := range []struct {
		scheme, ca, name string
		want, sni, log   string
	}{
		{"https", own.cert, "app.internal", "HTTP/1.1 a.test POST 40000 <nil>", "app.internal", ""},
		{"https", own.cert, "", "HTTP/1.1 a.test POST 40000 <nil>", "", ""}, // its own certificate, whatever the name
		{"h2", own.cert, "app.internal", "HTTP/2.0 a.test POST 40000 <nil>", "app.internal", ""},
		{"https", other, "app.internal", "Bad Gateway: the server behind this site cannot be reached; try again in a minute\n", "app.internal", "certificate signed by unknown authority"},
		{"https", "", "app.internal", "Bad Gateway: the server behind this site cannot be reached; try again in a minute\n", "app.internal", "certificate signed by unknown authority"},
		{"h2", other, "app.internal", "Bad Gateway: the server behind this site cannot be reached; try again in a minute\n", "app.internal", "certificate signed by unknown authority"},
	} {
		s := start(t, Config{Sites: []Site{{
			Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, row.scheme+"://"+own.addr),
			BackendTLS: BackendTLS{CA: row.ca, Name: row.name}, Access: acl.AllowAll(),
		}}})
		before := own.conns.Load()
		for range 5 {
			if got := post(t, s.at(t, "::1"), 40000); got != row.want {
				t.Errorf("%s, ca %t, name %q: %q, want %q", row.scheme, row.ca != "", row.name, got, row.want)
			}
		}
		if row.log != "" {
			s.log.waitFor(t, "no backend", row.log)
			continue
		}
		if n := own.conns.Load() - before; n != 1 {
			t.Errorf("%s: %d connections for 5 requests, want 1", row.scheme, n)
		}
		if got := own.sni.Load(); got != row.sni {
			t.Errorf("%s: SNI %q, want %q", row.scheme, got, row.sni)
		}
	}
}

// post sends content of n bytes to a.test at addr and gives the answer.
func post(t *testing.T, addr string, n int) string {
	t.Helper()
	conn := mustDial(t, addr)
	fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", n, strings.Repeat("x", n))
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "\r\n\r\n")
	return body
}

// A small request over TLS goes from an event loop, and again over the same
// connection; what comes unasked ends it.
func TestBackendTLSOnLoop(t *testing.T) {
	own := startSecure(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok ", r.URL.Path) }, "app.internal", "http/1.1")
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, "https://"+own.addr),
		BackendTLS: BackendTLS{CA: own.cert}, Access: acl.AllowAll(),
	}}})
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.at(t, "::1"))
	}}}
	defer client.CloseIdleConnections()
	for i := range 50 {
		resp, err := client.Get(fmt.Sprintf("http://a.test/%d", i))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("ok /%d", i); err != nil || string(body) != want {
			t.Fatalf("%q %v, want %q", body, err, want)
		}
	}
	if n := own.conns.Load(); n != 1 {
		t.Errorf("%d connections for 50 requests, want 1", n)
	}
}

// backend_tls is for those routes that go to backends with TLS, whatever the
// others and the site do.
func TestBackendTLSByRoute(t *testing.T) {
	secure := startSecure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "secure") }), "app.internal", "http/1.1")
	encrypted, plain := mustBackend(t, "https://"+secure.addr), mustBackend(t, startWeb(t, "plain"))
	for _, row := range []struct {
		site, route []Backend
		want        string // the beginnings of what / and /r say
	}{
		{encrypted, plain, "secure backend"},
		{plain, encrypted, "backend secure"},
	} {
		s := start(t, Config{Sites: []Site{{
			Name: "a.test", Listen: mustListen(t, "[::1]:0"), To: row.site, BackendTLS: BackendTLS{CA: secure.cert, Name: "app.internal"},
			Access: acl.AllowAll(), Routes: []Route{{Path: "/r", To: row.route}},
		}}})
		got := ""
		for _, path := range []string{"/", "/r"} {
			r := mustGet(t, "http://"+s.at(t, "::1")+path)
			r.Host = "a.test"
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			word, _, _ := strings.Cut(string(text), " ")
			got += word + " "
		}
		if strings.TrimSpace(got) != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestBackendSchemeMistakes(t *testing.T) {
	empty := t.TempDir() + "/empty.pem"
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	site := func(tls BackendTLS, to ...string) Config {
		return Config{Sites: []Site{{Name: "a.test", Listen: mustListen(t, "[::1]:80"), To: mustBackend(t, to...), BackendTLS: tls, Access: acl.AllowAll()}}}
	}
	for _, row := range []struct {
		cfg  Config
		want string
	}{
		{site(BackendTLS{}, "10.0.0.1:80", "https://10.0.0.2:443"), `site "a.test": to "10.0.0.1:80" and "https://10.0.0.2:443": the backends of a site are all spoken to in one way; write the same before each`},
		{site(BackendTLS{Name: "x"}, "h2c://10.0.0.1:80"), `site "a.test": backend_tls without TLS to the backend; write https:// before each address in "to"`},
		{site(BackendTLS{CA: "/nowhere.pem"}, "h2://10.0.0.1:80"), `site "a.test": backend_tls ca "/nowhere.pem": no such file or directory`},
		{site(BackendTLS{CA: empty}, "https://10.0.0.1:80"), `site "a.test": backend_tls ca "` + empty + `": no certificate in it; write a PEM file`},
		{Config{Forwards: []Forward{{Name: "f", Listen: mustListen(t, "[::1]:80"), To: mustBackend(t, "https://10.0.0.1:443"), Access: acl.AllowAll()}}},
			`forward "f": to "https://10.0.0.1:443": a forward takes bytes as they are; write the address alone`},
	} {
		if _, err := New(row.cfg); err == nil || err.Error() != row.want {
			t.Errorf("%v\nwant %s", err, row.want)
		}
	}
	for text, want := range map[string]string{
		"ftp://10.0.0.1:80":      `"ftp://10.0.0.1:80": unknown scheme "ftp"; write https://, h2c:// or h2://, or nothing for plain HTTP/1.1`,
		"https://10.0.0.1:80/":   `"https://10.0.0.1:80/": a backend has no path; write "https://10.0.0.1:80"`,
		"https://[2001:db8::]:1": `"https://[2001:db8::]:1": backends are IPv4 only; write the server's IPv4 address`,
	} {
		if _, err := ParseBackend(text); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}
