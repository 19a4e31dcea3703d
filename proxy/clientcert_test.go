package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/acl"
)

// A testCA makes certificates of clients.
type testCA struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	ca := &testCA{file: filepath.Join(t.TempDir(), "ca.pem")}
	var err error
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, ca.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return ca
}

// client makes a client's certificate, valid until the given time.
func (ca *testCA) client(t *testing.T, name string, until time.Time, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xbeef), Subject: pkix.Name{CommonName: name, Organization: []string{"Büro"}},
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// askAs makes one request over a new connection for the name sni, by a version
// of HTTP, with a certificate or none. A refused handshake is "refused".
func askAs(t *testing.T, addr, version, sni, host string, cert *tls.Certificate, cache tls.ClientSessionCache) string {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: sni, ClientSessionCache: cache}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	var tr http.RoundTripper
	if version == "h3" {
		one := &quichttp.Transport{TLSClientConfig: config, Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			tc.ServerName = sni
			return quic.DialAddr(ctx, addr, tc, qc)
		}}
		defer one.Close()
		tr = one
	} else {
		one := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: config, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
		one.Protocols.SetHTTP1(version == "h1")
		one.Protocols.SetHTTP2(version == "h2")
		defer one.CloseIdleConnections()
		tr = one
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "https://"+host+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-SSL-Client-Verify", "X_SSL_Client_Verify", "X-SSL-Client-S-DN", "Client-Cert", "Client-Cert-Chain"} {
		r.Header[name] = []string{"SUCCESS"} // claims
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return "refused"
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		return fmt.Sprint(resp.StatusCode)
	}
	var told []string
	for line := range strings.Lines(string(body)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); strings.Contains(strings.ToLower(name), "client") {
			told = append(told, value[:min(len(value), 40)])
		}
	}
	return strings.Join(told, " ")
}

// A site that wants a certificate gets one or nobody, by all versions of HTTP;
// a connection for another site, or its session, is no way round it; what
// clients claim of certificates never arrives.
func TestClientCertificates(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	listen := mustListen(t, fmt.Sprintf("[::1]:%d", freePort(t)))
	site := func(name string) Site {
		cert, key := writeCert(t, time.Hour, name)
		return Site{Name: name, Listen: listen, To: mustBackend(t, startWeb(t, name)), Access: acl.AllowAll(), Announce: []string{}, Cert: cert, Key: key}
	}
	strict, lax, open := site("strict.test"), site("lax.test"), site("open.test")
	strict.ClientCA, lax.ClientCA, lax.ClientOptional = ca.file, ca.file, true
	start(t, Config{Sites: []Site{strict, lax, open}, Listeners: []Listener{{Listen: listen[0], TLS: true}}})
	addr := strings.TrimPrefix(fmt.Sprint(listen[0]), "tcp/")
	good := ca.client(t, "joe", time.Now().Add(time.Hour), x509.ExtKeyUsageClientAuth)
	late := ca.client(t, "joe", time.Now().Add(-time.Hour), x509.ExtKeyUsageClientAuth)
	server := ca.client(t, "joe", time.Now().Add(time.Hour), x509.ExtKeyUsageServerAuth)
	stranger := other.client(t, "joe", time.Now().Add(time.Hour), x509.ExtKeyUsageClientAuth)
	const joe = ":MII CN=joe,O=B%C3%BCro beef SUCCESS"
	for _, version := range []string{"h1", "h2", "h3"} {
		cache := tls.NewLRUClientSessionCache(8)
		for _, row := range []struct {
			name, sni, host string
			cert            *tls.Certificate
			want            string
		}{
			{"open", "open.test", "open.test", nil, ""},
			{"required", "strict.test", "strict.test", good, joe},
			{"none", "strict.test", "strict.test", nil, "refused"},
			{"expired", "strict.test", "strict.test", late, "refused"},
			{"a-server's", "strict.test", "strict.test", server, "refused"},
			{"stranger", "strict.test", "strict.test", stranger, "refused"},
			{"fronted", "open.test", "strict.test", nil, "421"},
			{"fronted-with", "open.test", "strict.test", good, "421"},
			{"fronted-by-lax", "lax.test", "strict.test", nil, "421"},
			{"optional", "lax.test", "lax.test", good, joe},
			{"optional-none", "lax.test", "lax.test", nil, "NONE"},
			{"optional-stranger", "lax.test", "lax.test", stranger, "refused"},
			{"optional-fronted", "open.test", "lax.test", nil, "421"},
			{"other-way", "strict.test", "open.test", good, ""},
		} {
			got := askAs(t, addr, version, row.sni, row.host, row.cert, cache)
			if strings.HasPrefix(got, ":MII") {
				_, rest, _ := strings.Cut(got, " ")
				got = ":MII " + rest
			}
			if got != row.want {
				t.Errorf("%s %s: %q, want %q", version, row.name, got, row.want)
			}
		}
	}
}

func TestClientCertificateErrors(t *testing.T) {
	cert, key := writeCert(t, time.Hour, "a.test")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	mustWrite(t, empty, nil)
	for _, row := range []struct {
		edit func(*Site)
		want string
	}{
		{func(s *Site) { s.ClientCA, s.Cert, s.Key = empty, "", "" }, `site "a": client_ca is for clients that speak TLS; write cert and key, or tls, too`},
		{func(s *Site) { s.ClientOptional = true }, `site "a": client certificates are optional, and nobody vouches for them; write client_ca`},
		{func(s *Site) { s.ClientCA = empty }, fmt.Sprintf(`site "a": client_ca %q: no certificate in it; write the authority's, PEM`, empty)},
		{func(s *Site) { s.ClientCA = "/nowhere" }, `site "a": client_ca "/nowhere": no such file or directory`},
	} {
		one := Site{Name: "a", Listen: mustListen(t, ":443"), To: mustBackend(t, "10.0.0.1:80"), Access: acl.AllowAll(), Cert: cert, Key: key}
		row.edit(&one)
		if _, err := New(Config{Sites: []Site{one}}); fmt.Sprint(err) != row.want {
			t.Errorf("%v\nwant %s", err, row.want)
		}
	}
}
