package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/proxy/certs"
	"genkan/proxy/certs/certstest"
)

// mustListen is a front without a CA.
func mustListen(t *testing.T) (*ca, *front) {
	t.Helper()
	c := &ca{}
	c.http, _ = mustPort(t)
	c.tls, _ = mustPort(t)
	return c, c.startFront(t)
}

// mustRoot reads our own CA's root from a store.
func mustRoot(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	waitUntil(t, "root", func() error {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(certs.RootKey)))
		if err == nil && !pool.AppendCertsFromPEM(text) {
			err = errors.New("no certificate")
		}
		return err
	})
	return pool
}

// Private names, public ones that ask for it, and addresses get certificates of
// our own CA, which are renewed; its root stays over a restart.
func TestOwnCA(t *testing.T) {
	t.Parallel()
	c, f := mustListen(t)
	dir := t.TempDir()
	s := certs.Settings{Dir: dir, CA: "https://127.0.0.1:1/none", Check: 100 * time.Millisecond, Lifetime: 4 * time.Second}
	subjects := []certs.Subject{{Name: "nas.home.arpa"}, {Name: "*.lan"}, {Name: "www.own.example.jp", Internal: true}, {Name: "old.own.example.jp", Internal: true, RSA: true}}
	m := f.manage(t, s, subjects...)
	root := mustRoot(t, dir)
	check := func(name string) (cert *x509.Certificate) {
		t.Helper()
		as := name
		if as == "" {
			as = "::1" // all that the client knows
		}
		waitUntil(t, "certificate for "+as, func() (err error) {
			if cert, err = c.show(t, name); err == nil {
				_, err = cert.Verify(x509.VerifyOptions{DNSName: as, Roots: root})
			}
			return err
		})
		return cert
	}
	for _, name := range []string{"nas.home.arpa", "any.lan", "www.own.example.jp", "old.own.example.jp", ""} {
		cert := check(name)
		if rsa := name == "old.own.example.jp"; (cert.PublicKeyAlgorithm == x509.RSA) != rsa {
			t.Errorf("%q: %s key", name, cert.PublicKeyAlgorithm)
		}
	}
	if _, err := c.show(t, "other.example.jp"); err == nil {
		t.Error("a name that nobody wrote down has a certificate")
	}
	first := check("nas.home.arpa").SerialNumber
	waitUntil(t, "renewal", func() error {
		if check("nas.home.arpa").SerialNumber.Cmp(first) == 0 {
			return errors.New("still the first")
		}
		return nil
	})
	m.Close()
	f.manage(t, s, subjects...)
	check("nas.home.arpa") // by the same root
}

// What a fault of the disk has left of a certificate is replaced, not served
// and not in the way for ever.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	c, f := mustListen(t)
	dir := t.TempDir()
	s := certs.Settings{Dir: dir}
	for i, name := range []string{"a.broken.lan", "b.broken.lan", "c.broken.lan"} {
		m := f.manage(t, s, certs.Subject{Name: name})
		waitUntil(t, "certificate", func() error { _, err := c.show(t, name); return err })
		m.Close()
		file := filepath.Join(dir, "certificates", "internal", name, name+[]string{".crt", ".key", ".json"}[i])
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, file, slices.Concat(text[:len(text)/2], make([]byte, 64)))
		f.manage(t, s, certs.Subject{Name: name})
		waitUntil(t, "certificate after the fault", func() error { _, err := c.show(t, name); return err })
		if now, err := os.ReadFile(file); err != nil || string(now[len(now)/2:]) == string(make([]byte, 64)) {
			t.Errorf("%s: %q, %v", file, now, err)
		}
	}
}

// Names that nobody wrote down are had where the allow-list agrees, which is
// asked once for all who come at once.
func TestOnDemand(t *testing.T) {
	t.Parallel()
	c, f := mustListen(t)
	var mu sync.Mutex
	asked := map[string]int{}
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("domain")
		mu.Lock()
		asked[name]++
		mu.Unlock()
		switch {
		case strings.HasPrefix(name, "good"):
		case strings.HasPrefix(name, "moved"):
			http.Redirect(w, r, "/?domain=good.lan", http.StatusFound)
		default:
			http.Error(w, "no", http.StatusNotFound)
		}
	}))
	t.Cleanup(list.Close)
	f.manage(t, certs.Settings{Dir: t.TempDir(), Ask: list.URL + "/ask?list=a"})
	var all sync.WaitGroup
	for _, row := range []struct {
		name string
		ok   bool
	}{{"good.demand.lan", true}, {"bad.demand.lan", false}, {"moved.demand.lan", false}} {
		for range 4 {
			all.Go(func() {
				if _, err := c.show(t, row.name); (err == nil) != row.ok {
					t.Errorf("%s: %v", row.name, err)
				}
			})
		}
	}
	all.Wait()
	if _, err := c.show(t, "bad.demand.lan"); err == nil {
		t.Error("refused, and then not")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 3 || asked["good.demand.lan"] != 1 || asked["bad.demand.lan"] != 1 || asked["moved.demand.lan"] != 1 {
		t.Errorf("asked %v", asked)
	}
}

// Strangers cannot make us ask and order without bounds.
func TestDemandIsBounded(t *testing.T) {
	t.Parallel()
	_, f := mustListen(t)
	list := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(list.Close)
	// A CA that cannot be reached: no order ends.
	m := f.manage(t, certs.Settings{Dir: t.TempDir(), Ask: list.URL, CA: "https://127.0.0.1:1/none", NoPreflight: true})
	const most = 64
	for i := range most + 16 {
		hello := &tls.ClientHelloInfo{ServerName: fmt.Sprintf("n%d.bound.example.jp", i)}
		done := make(chan error, 1)
		go func() {
			_, err := m.Get(hello, hello.ServerName, netip.IPv6Loopback())
			done <- err
		}()
		waitUntil(t, hello.ServerName, func() error {
			select {
			case err := <-done:
				want := fmt.Sprintf("%q: too many names were asked for", hello.ServerName)
				if i < most || err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
				return nil
			default:
			}
			if n := len(m.Status()); i >= most || n != i+1 {
				return fmt.Errorf("%d names are on order", n)
			}
			return nil
		})
	}
	if n := len(m.Status()); n != most {
		t.Errorf("%d names are on order", n)
	}
	m.Close() // ends the waiting
}

// Where a name does not lead here nobody is asked for a certificate, and the
// error says what to mend.
func TestPreflight(t *testing.T) {
	t.Parallel()
	c, f := mustListen(t)
	udp, tcp := mustPair(t)
	c.dns = certstest.StartDNS(t, udp, tcp)
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "nginx")
		http.Error(w, "no", http.StatusNotFound)
	})
	six, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	stranger.Listener.Close()
	stranger.Listener = six
	stranger.Start()
	t.Cleanup(stranger.Close)
	other := netip.MustParseAddrPort(six.Addr().String()).Port()
	closed := freePort(t)
	here := netip.IPv6Loopback()
	for _, row := range []struct {
		name      string
		addrs     []netip.Addr
		http, tls bool
		port      uint16
		want      string
	}{
		{"none", nil, true, true, 0, `no order: none.pre.example.jp has neither an AAAA nor an A record; write one that leads here, or take the name away`},
		{"closed", []netip.Addr{here}, true, true, closed,
			fmt.Sprintf(`no order: the AAAA record ::1 of closed.pre.example.jp does not lead here: connecting to [::1]:%[1]d: connection refused; correct or remove that record, as CAs ask over IPv6 first, or open port %[1]d there, or write preflight = false in [acme]`, closed)},
		{"stray", []netip.Addr{here}, true, true, other,
			fmt.Sprintf(`no order: the AAAA record ::1 of stray.pre.example.jp does not lead here: another server answers on port %[1]d there, with status 404 (Server: "nginx"); correct or remove that record, as CAs ask over IPv6 first, or open port %[1]d there, or write preflight = false in [acme]`, other)},
		{"neither", []netip.Addr{here}, false, false, 0,
			`no CA can ask here for "neither.pre.example.jp": nothing listens on port 80, and no site on port 443; write a site that listens on one of them, [acme] dns, or cert and key`},
		// What passes goes on to the CA, which is not there.
		{"http", []netip.Addr{here}, true, true, 0, `127.0.0.1:1`},
		{"tls", []netip.Addr{here}, false, true, 0, `127.0.0.1:1`},
		{"behind-nat", []netip.Addr{netip.MustParseAddr("127.0.0.1")}, true, true, 0, `127.0.0.1:1`},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := row.name + ".pre.example.jp"
			c.dns.Set(name, row.addrs...)
			s := c.settings(t.TempDir())
			s.CA, s.HTTP, s.TLS, s.CARoot = "https://127.0.0.1:1/dir", row.http, row.tls, ""
			if row.port != 0 {
				s.HTTPPort = row.port
			}
			m := f.manage(t, s, certs.Subject{Name: name})
			waitUntil(t, "failure", func() error {
				all := m.Status()
				if len(all) != 1 || all[0].Error == "" {
					return fmt.Errorf("%+v", all)
				}
				if got := all[0].Error; got != row.want && !(strings.HasPrefix(row.want, "127") && strings.Contains(got, row.want)) {
					t.Errorf("got  %s\nwant %s", got, row.want)
				}
				return nil
			})
			m.Close()
		})
	}
}

// Files are followed; what does not hold leaves the last good certificate.
func TestPairFollows(t *testing.T) {
	t.Parallel()
	c, f := mustListen(t)
	source := t.TempDir()
	f.manage(t, certs.Settings{Dir: source}, certs.Subject{Name: "a.pair.lan"}, certs.Subject{Name: "b.pair.lan"})
	for _, name := range []string{"a.pair.lan", "b.pair.lan"} {
		waitUntil(t, "certificate", func() error { _, err := c.show(t, name); return err })
	}
	from := func(name, end string) []byte {
		text, err := os.ReadFile(filepath.Join(source, "certificates", "internal", name, name+end))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	mustWrite(t, cert, from("a.pair.lan", ".crt"))
	mustWrite(t, key, from("a.pair.lan", ".key"))
	p, err := certs.NewPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	ctx := t.Context()
	following.Go(func() {
		certs.Follow(ctx, slog.New(slog.DiscardHandler), func() []*certs.Pair { return []*certs.Pair{p} })
	})
	t.Cleanup(following.Wait)
	mustWrite(t, cert, from("b.pair.lan", ".crt")) // the key is still to come
	waitUntil(t, "complaint", func() error {
		if p.Status().Error == "" {
			return errors.New("none")
		}
		return nil
	})
	if s := p.Status(); s.Name != "a.pair.lan" || s.Source != "file" || s.File != cert {
		t.Errorf("half written: %+v", s)
	}
	mustWrite(t, key, from("b.pair.lan", ".key"))
	waitUntil(t, "change", func() error {
		if s := p.Status(); s.Name != "b.pair.lan" || s.Error != "" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "complaint", func() error {
		if p.Status().Error == "" {
			return errors.New("none")
		}
		return nil
	})
	if s := p.Status(); s.Name != "b.pair.lan" {
		t.Errorf("removed: %+v", s)
	}
}

// Each profile takes the clients that it is for.
func TestProfiles(t *testing.T) {
	t.Parallel()
	c, f := mustListen(t)
	dir := t.TempDir()
	m := f.manage(t, certs.Settings{Dir: dir}, certs.Subject{Name: "a.profile.lan", RSA: true})
	waitUntil(t, "certificate", func() error { _, err := c.show(t, "a.profile.lan"); return err })
	for _, row := range []struct {
		profile  certs.Profile
		min, max uint16
		suites   []uint16
		want     string // the protocol that is agreed on; "refused"
	}{
		{certs.Intermediate, tls.VersionTLS13, tls.VersionTLS13, nil, "h2"},
		{certs.Intermediate, tls.VersionTLS12, tls.VersionTLS12, nil, "h2"},
		{certs.Intermediate, tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}, "refused"},
		{certs.Intermediate, tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, "refused"},
		{certs.Intermediate, tls.VersionTLS11, tls.VersionTLS11, nil, "refused"},
		{certs.Intermediate, tls.VersionTLS10, tls.VersionTLS10, nil, "refused"},
		{certs.Old, tls.VersionTLS13, tls.VersionTLS13, nil, "h2"},
		{certs.Old, tls.VersionTLS12, tls.VersionTLS12, nil, "h2"},
		{certs.Old, tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, "http/1.1"},
		{certs.Old, tls.VersionTLS11, tls.VersionTLS11, nil, "http/1.1"},
		{certs.Old, tls.VersionTLS10, tls.VersionTLS10, []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}, "http/1.1"},
	} {
		server := certs.Config(profiled{m, row.profile}, "h2", "http/1.1")
		protos := []string{"h2", "http/1.1"}
		if row.want == "http/1.1" && row.max == tls.VersionTLS12 {
			protos = protos[1:] // HTTP/2 forbids its suite: such a client does not offer it
		}
		client := &tls.Config{ServerName: "a.profile.lan", InsecureSkipVerify: true, MinVersion: row.min, MaxVersion: row.max, CipherSuites: row.suites, NextProtos: protos}
		got := "refused"
		if cs, err := shake(t, server, client); err == nil {
			got = cs.NegotiatedProtocol
		}
		if got != row.want {
			t.Errorf("profile %d, version %x, suites %x: %s, want %s", row.profile, row.max, row.suites, got, row.want)
		}
	}
}

// profiled is a finder with a profile.
type profiled struct {
	*certs.Manager
	profile certs.Profile
}

func (p profiled) Certificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return p.Get(h, h.ServerName, netip.IPv6Loopback())
}
func (p profiled) Profile(*tls.ClientHelloInfo) certs.Profile { return p.profile }

// shake makes one handshake over a pipe.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	var done sync.WaitGroup
	done.Go(func() {
		_ = tls.Server(b, server).HandshakeContext(t.Context())
		b.Close()
	})
	conn := tls.Client(a, client)
	err := conn.HandshakeContext(t.Context())
	if err == nil {
		_, err = conn.Read(make([]byte, 1)) // an alert of TLS 1.3 comes late
		if err == io.EOF || errors.Is(err, io.ErrClosedPipe) {
			err = nil
		}
	}
	a.Close()
	done.Wait()
	return conn.ConnectionState(), err
}
