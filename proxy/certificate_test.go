package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/acl"
	"genkan/proxy/certs"
)

// waitRoot waits for the root of our own CA in a store.
func waitRoot(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	poll(t, "our own CA", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(certs.RootKey)))
		return err == nil && pool.AppendCertsFromPEM(text)
	})
	return pool
}

// Sites and forwards have certificates without files, over TCP and QUIC; what
// the reload takes away goes, what it brings comes, the rest stays.
func TestAutomaticCertificates(t *testing.T) {
	dir := t.TempDir()
	listen, mail := mustListen(t, fmt.Sprintf("[::1]:%d", freePort(t))), mustListen(t, "127.0.0.1:0")
	cfg := Config{
		Certs:     certs.Settings{Dir: dir},
		Listeners: []Listener{{Listen: listen[0], TLS: true}},
		Sites: []Site{{Name: "a.lan", Hosts: []string{"a.lan", "*.sub.lan", "bücher.lan", "[::1]"}, Listen: listen, To: mustBackend(t, startWeb(t, "a")),
			Access: acl.AllowAll(), CertSource: CertAuto}},
		Forwards: []Forward{{Name: "mail", Listen: mail, To: mustBackend(t, startLines(t)), Access: acl.AllowAll(),
			CertSource: CertInternal, CertNames: []string{"mail.example.jp", "imap.example.jp"}}},
	}
	s := start(t, cfg)
	root := waitRoot(t, dir)
	site, forward := s.at(t, "::1"), s.at(t, "127.0.0.1")
	serial := func(addr, ask, want string) string {
		t.Helper()
		var got string
		poll(t, "certificate for "+want, func() bool {
			conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: ask, InsecureSkipVerify: true})
			if err != nil {
				return false
			}
			defer conn.Close()
			cert := conn.ConnectionState().PeerCertificates[0]
			got = cert.SerialNumber.String()
			_, err = cert.Verify(x509.VerifyOptions{DNSName: want, Roots: root})
			return err == nil
		})
		return got
	}
	first := serial(site, "a.lan", "a.lan")
	serial(site, "x.sub.lan", "x.sub.lan")
	serial(site, "xn--bcher-kva.lan", "xn--bcher-kva.lan")
	serial(site, "", "::1") // all that the client knows
	serial(forward, "imap.example.jp", "imap.example.jp")
	serial(forward, "smtp.example.com", "mail.example.jp") // mail clients ask for all kinds of names
	serial(forward, "", "mail.example.jp")

	tr := &quichttp.Transport{
		TLSClientConfig: &tls.Config{RootCAs: root, ServerName: "a.lan"},
		QUICConfig:      &quic.Config{InitialPacketSize: 1200},
		Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, site, tc, qc)
		},
	}
	defer tr.Close()
	if body, err := getBy(t, tr, "https://a.lan/"); err != nil || !strings.HasPrefix(body, "backend a\n") {
		t.Errorf("HTTP/3: %q, %v", body, err)
	}
	stats := s.Stats().Certificates
	if len(stats) != 6 || stats[0].Name != "*.sub.lan" || stats[1].Name != "::1" || stats[2].Source != "internal" {
		t.Errorf("status: %+v", stats)
	}

	cfg.Sites[0].Hosts = []string{"a.lan", "b.lan"}
	if err := s.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	serial(site, "b.lan", "b.lan")
	if serial(site, "a.lan", "a.lan") != first {
		t.Error("a reload has made a certificate anew")
	}
	if _, err := tls.Dial("tcp", site, &tls.Config{ServerName: "x.sub.lan", InsecureSkipVerify: true}); err == nil {
		t.Error("a name that is nobody's any more has a certificate")
	}
}

func getBy(t *testing.T, tr http.RoundTripper, url string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := tr.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// A client that only looks like a CA gets no handshake, and nothing else is
// spoken on a connection of TLS-ALPN-01.
func TestFalseChallenge(t *testing.T) {
	cert, key := writeCert(t, time.Hour, "a.test")
	listen := mustListen(t, "[::1]:0")
	s := start(t, Config{
		Listeners: []Listener{{Listen: listen[0], TLS: true}},
		Sites:     []Site{{Name: "a.test", Listen: listen, To: mustBackend(t, startWeb(t, "a")), Access: acl.AllowAll(), Cert: cert, Key: key}},
	})
	for _, protos := range [][]string{{"acme-tls/1"}, {"acme-tls/1", "http/1.1"}} {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.at(t, "::1"), &tls.Config{ServerName: "a.test", NextProtos: protos, InsecureSkipVerify: true})
		switch {
		case len(protos) == 1 && err == nil:
			t.Error("a handshake for no challenge")
		case len(protos) == 2 && err != nil:
			t.Errorf("a client of HTTP: %v", err)
		case err == nil && conn.ConnectionState().NegotiatedProtocol != "http/1.1":
			t.Errorf("agreed on %q", conn.ConnectionState().NegotiatedProtocol)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestCertificateMistakes(t *testing.T) {
	listen, tcp := mustListen(t, "[::1]:443"), mustBackend(t, "127.0.0.1:8")
	site := func(edit func(*Site)) Config {
		one := Site{Name: "a.example.jp", Listen: listen, To: tcp, Access: acl.AllowAll(), CertSource: CertAuto}
		edit(&one)
		return Config{Sites: []Site{one}, Certs: certs.Settings{Dir: "/nowhere"}}
	}
	forward := func(names ...string) Config {
		return Config{Certs: certs.Settings{Dir: "/nowhere"}, Forwards: []Forward{{Name: "f", Listen: mustListen(t, ":993"), To: tcp, Access: acl.AllowAll(), CertSource: CertAuto, CertNames: names}}}
	}
	for _, row := range []struct {
		cfg  Config
		want string
	}{
		{site(func(*Site) {}), ""},
		{site(func(s *Site) { s.Hosts = []string{"*.example.jp"} }), `site "a.example.jp": a certificate for "*.example.jp" is to be had by DNS-01 only; write [acme] dns for its zone, or cert and key, or the names in place of the star`},
		{site(func(s *Site) { s.Cert = "x" }), `site "a.example.jp": a certificate comes from files or by itself; write cert and key, or tls`},
		{site(func(s *Site) { s.CertSource = 9 }), `site "a.example.jp": cert source 9 is none of ours`},
		{Config{Sites: site(func(*Site) {}).Sites}, `[acme]: no place to keep certificates in; write storage`},
		{forward(), `forward "f": no name to get a certificate for; write hosts = ["mail.example.jp"], or cert and key`},
		{forward("mail.example.jp"), `forward "f": no CA can ask here for "mail.example.jp": nothing listens on port 80, and no site on port 443; write a site that listens on one of them, [acme] dns, or cert and key`},
		{forward("mail.home.arpa"), ""},
	} {
		_, err := New(row.cfg)
		if got := errors.Join(err); (got == nil) != (row.want == "") || got != nil && got.Error() != row.want {
			t.Errorf("got  %v\nwant %s", err, row.want)
		}
	}
}
