package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"genkan/proxy/certs"
	"genkan/proxy/certs/certstest"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "genkan")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(buildDir, dir)
	// They wait for CAs and clocks, and use no processor meanwhile.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// buildDir is the variable that names the folder of the built pebble.
const buildDir = "GENKAN_TEST_PEBBLE"

var pebbleBuilt = sync.OnceValues(func() (string, error) { return certstest.Build(os.Getenv(buildDir)) })

// The tests run side by side, each with a CA and names of its own: certmagic
// remembers by name, for all of a process, what has failed to be renewed.

const patience = 60 * time.Second

// A ca is a running pebble behind a front of ours that counts, and can be told
// to fail as CAs do.
type ca struct {
	dns  *certstest.DNS
	root *x509.CertPool // of what it issues
	url  string         // of its directory
	file string         // the root of its own TLS

	http, tls net.Listener // where it asks names, taken by startFront

	mu     sync.Mutex // guards the fields below
	orders []string   // payloads of new orders
	down   bool       // all requests fail
	limit  int        // so many orders more are refused, with Retry-After: 1
	ari    string     // what is answered for renewal information; "": there is no such thing
	slow   chan struct{}
}

func mustPort(t *testing.T) (net.Listener, uint16) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, netip.MustParseAddrPort(l.Addr().String()).Port()
}

// mustPair takes one port for UDP and TCP.
func mustPair(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		udp, err := net.ListenPacket("udp6", "[::1]:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp6", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		udp.Close() // somebody has it for TCP
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

func startCA(t *testing.T) *ca { return startCAAs(t, certstest.Pebble{}) }

// startCAAs is startCA with settings of pebble's.
func startCAAs(t *testing.T, pebble certstest.Pebble) *ca {
	t.Helper()
	c := &ca{root: x509.NewCertPool()}
	udp, tcp := mustPair(t)
	c.dns = certstest.StartDNS(t, udp, tcp)
	var httpPort, tlsPort uint16
	c.http, httpPort = mustPort(t)
	c.tls, tlsPort = mustPort(t)
	t.Cleanup(func() { c.http.Close(); c.tls.Close() })
	here := netip.IPv6Loopback()
	pebble.Listen, pebble.Management = netip.AddrPortFrom(here, freePort(t)), netip.AddrPortFrom(here, freePort(t))
	pebble.HTTP, pebble.TLS, pebble.DNS = httpPort, tlsPort, c.dns.Addr
	if pebble.Validity == 0 {
		pebble.Validity = 90 * time.Second
	}
	args, env, _ := pebble.Files(t, t.TempDir())
	program, err := pebbleBuilt()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	var said bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("pebble wrote:\n%s", &said)
		}
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	waitUntil(t, "pebble", func() error {
		root, _, err := pebble.Root(&http.Client{Transport: transport})
		if err == nil {
			c.root.AddCert(root)
		}
		return err
	})
	front := httptest.NewTLSServer(c.between(&url.URL{Scheme: "https", Host: pebble.Listen.String()}, transport))
	t.Cleanup(front.Close)
	c.url = front.URL + "/dir"
	c.file = filepath.Join(t.TempDir(), "front.pem")
	mustWrite(t, c.file, pemOf("CERTIFICATE", front.Certificate().Raw))
	return c
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, port := mustPort(t)
	l.Close()
	return port
}

// between hands requests on to pebble, whose answers name us.
func (c *ca) between(to *url.URL, transport http.RoundTripper) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Path != "/dir" || c.hasARI() {
				return nil
			}
			var dir map[string]any
			if err := json.NewDecoder(r.Body).Decode(&dir); err != nil {
				return err
			}
			delete(dir, "renewalInfo")
			text, err := json.Marshal(dir)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
			r.Header.Set("Content-Length", fmt.Sprint(len(text)))
			return err
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		down, limited, ari, slow := c.down, false, c.ari, c.slow
		if r.URL.Path == "/order-plz" && !down {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			c.orders = append(c.orders, payload(body))
			if limited = c.limit > 0; limited {
				c.limit--
			}
		}
		c.mu.Unlock()
		switch {
		case down:
			panic(http.ErrAbortHandler)
		case limited:
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates","status":429}`)
			return
		case ari != "" && strings.Contains(r.URL.Path, "renewalInfo"):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "1")
			io.WriteString(w, ari)
			return
		}
		if slow != nil && strings.HasPrefix(r.URL.Path, "/chalZ") {
			select {
			case <-slow:
			case <-r.Context().Done():
			}
		}
		proxy.ServeHTTP(w, r)
	})
}

// payload reads what a request of JWS says.
func payload(body []byte) string {
	var jws struct{ Payload string }
	if json.Unmarshal(body, &jws) != nil {
		return ""
	}
	text, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	return string(text)
}

func (c *ca) hasARI() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ari != ""
}

func (c *ca) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *ca) ordered() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.orders...)
}

// settings are those of a Manager that uses this CA, in dir.
func (c *ca) settings(dir string) certs.Settings {
	port := func(l net.Listener) uint16 { return netip.MustParseAddrPort(l.Addr().String()).Port() }
	return certs.Settings{
		Dir: dir, CA: c.url, CARoot: c.file, Profile: "default", Resolver: c.dns.Addr, HTTP: true, TLS: true,
		HTTPPort: port(c.http), TLSPort: port(c.tls), Retry: 100 * time.Millisecond, Check: 100 * time.Millisecond,
	}
}

// A front answers for a Manager, as the proxy does.
type front struct {
	mu      sync.Mutex // guards manager
	manager *certs.Manager
}

func (f *front) now() *certs.Manager {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.manager
}

func (f *front) use(m *certs.Manager) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.manager = m
}

func (f *front) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	local := netip.MustParseAddrPort(hello.Conn.LocalAddr().String())
	return f.now().Get(hello, hello.ServerName, local.Addr())
}
func (f *front) Profile(*tls.ClientHelloInfo) certs.Profile     { return certs.Intermediate }
func (f *front) Challenge(name string) (*tls.Certificate, bool) { return f.now().Challenge(name) }

// startFront answers on the CA's two ports until the test ends.
func (c *ca) startFront(t *testing.T) *front {
	t.Helper()
	f := &front{manager: certs.NewManager(slog.New(slog.DiscardHandler))}
	plain := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if text, ok := f.now().HTTPChallenge(host, r.URL.Path); ok {
			io.WriteString(w, text)
			return
		}
		http.NotFound(w, r)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { plain.Serve(c.http) })
	config := certs.Config(f)
	serving.Go(func() {
		for {
			conn, err := c.tls.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				_ = tls.Server(conn, config).HandshakeContext(t.Context())
			})
		}
	})
	t.Cleanup(func() {
		plain.Close()
		c.tls.Close()
		serving.Wait()
	})
	return f
}

// manage starts a Manager behind the front, until the test ends.
func (f *front) manage(t *testing.T, s certs.Settings, subjects ...certs.Subject) *certs.Manager {
	t.Helper()
	m := certs.NewManager(slog.New(slog.NewTextHandler(t.Output(), nil)))
	f.use(m)
	if err := m.Apply(s, subjects); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// show gives the certificate that a client gets who asks for name, "" for none.
func (c *ca) show(t *testing.T, name string) (*x509.Certificate, error) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", c.tls.Addr().String(),
		&tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// waitFor waits for a certificate of the CA for name.
func (c *ca) waitFor(t *testing.T, name string) (cert *x509.Certificate) {
	t.Helper()
	waitUntil(t, "certificate for "+name, func() (err error) {
		if cert, err = c.show(t, name); err == nil {
			_, err = cert.Verify(x509.VerifyOptions{DNSName: name, Roots: c.root, Intermediates: c.middle(t, name)})
		}
		return err
	})
	return cert
}

// middle are the further certificates that come along.
func (c *ca) middle(t *testing.T, name string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	conn, err := tls.Dial("tcp", c.tls.Addr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return pool
	}
	defer conn.Close()
	for _, cert := range conn.ConnectionState().PeerCertificates[1:] {
		pool.AddCert(cert)
	}
	return pool
}

func waitUntil(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %v: %v", what, patience, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func mustWrite(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
