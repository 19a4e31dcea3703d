package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"genkan/proxy/http1"
	"genkan/proxy/message"
)

// The ways in which a site's backend is spoken to, as written before its
// address in "to".
const (
	schemeHTTP  = ""      // HTTP/1.1, also "http://"
	schemeHTTPS = "https" // the same over TLS
	schemeH2C   = "h2c"   // HTTP/2, with prior knowledge
	schemeH2    = "h2"    // HTTP/2 over TLS
	schemes     = "https://, h2c:// or h2://"
	sessions    = 64 // of TLS, that are kept for each backend to go on with
)

// BackendTLS is how a backend with "https://" or "h2://" proves who it is. The
// zero BackendTLS wants a certificate of an authority that this machine
// trusts, for the name or address in "to".
type BackendTLS struct {
	// CA is a PEM file: certificates of the authorities that are believed, or
	// the backend's own, which is then believed whatever name and date it has.
	// Empty: the system's authorities.
	CA string
	// Name is what the certificate has to be for; it is sent as SNI. Empty:
	// the name or address in "to".
	Name string
}

// cutScheme takes the scheme off one element of "to".
func cutScheme(text string) (scheme, rest string, err error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return schemeHTTP, text, nil
	}
	if strings.ContainsAny(rest, "/?#") {
		return "", "", fmt.Errorf("%q: a backend has no path; write %q", text, scheme+"://"+rest[:strings.IndexAny(rest, "/?#")])
	}
	switch scheme {
	case "http":
		return schemeHTTP, rest, nil
	case schemeHTTPS, schemeH2C, schemeH2:
		return scheme, rest, nil
	}
	return "", "", fmt.Errorf("%q: unknown scheme %q; write %s, or nothing for plain HTTP/1.1", text, scheme, schemes)
}

// speaksTLS tells whether a scheme means TLS.
func speaksTLS(scheme string) bool { return scheme == schemeHTTPS || scheme == schemeH2 }

func (b Backend) speaksTLS() bool { return speaksTLS(b.Scheme) }

// A backendTrust is a BackendTLS with its file read, so that two can be
// compared.
type backendTrust struct{ pem, name string }

// load reads the file of t.
func (t BackendTLS) load() (backendTrust, error) {
	name, err := aLabels(t.Name)
	if host, wrong := message.ParseAuthority(name); name != "" && (wrong != nil || host.Port != 0) || err != nil {
		return backendTrust{}, fmt.Errorf("backend_tls name %q is no name; write what the certificate is for, as \"app.internal\"", t.Name)
	}
	out := backendTrust{name: name}
	if t.CA == "" {
		return out, nil
	}
	data, err := os.ReadFile(t.CA)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return out, fmt.Errorf("backend_tls ca %q: %w", t.CA, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(data) {
		return out, fmt.Errorf("backend_tls ca %q: no certificate in it; write a PEM file", t.CA)
	}
	out.pem = string(data)
	return out, nil
}

// backendTLS reads what the backends of a site, and of its routes, have to
// prove where they are spoken to by TLS.
func (one *site) backendTLS() (backendTrust, error) {
	encrypted := slices.ContainsFunc(one.To, Backend.speaksTLS)
	for _, r := range one.Routes {
		encrypted = encrypted || slices.ContainsFunc(r.To, Backend.speaksTLS)
	}
	if one.BackendTLS != (BackendTLS{}) && !encrypted {
		return backendTrust{}, errors.New("backend_tls without TLS to the backend; write https:// before each address in \"to\"")
	}
	return one.BackendTLS.load()
}

// checkSchemes gives the one scheme of the backends of a site or route.
func checkSchemes(to []Backend) (scheme string, err error) {
	for i, b := range to {
		if i > 0 && b.Scheme != scheme {
			return "", fmt.Errorf("to %q and %q: the backends of a site are all spoken to in one way; write the same before each", to[0], b)
		}
		scheme = b.Scheme
	}
	return scheme, nil
}

// config is what a backend called name has to prove.
func (t backendTrust) config(name string) *tls.Config {
	if t.name != "" {
		name = t.name
	}
	c := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(sessions)}
	if t.pem == "" {
		return c
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(t.pem))
	// We verify ourselves, for a certificate that is itself in the file is
	// believed as it is.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(cs tls.ConnectionState) error { return t.verify(cs, roots, name) }
	return c
}

// verify checks the chain of a backend.
func (t backendTrust) verify(cs tls.ConnectionState, roots *x509.CertPool, name string) error {
	leaf := cs.PeerCertificates[0]
	for rest := []byte(t.pem); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if bytes.Equal(block.Bytes, leaf.Raw) {
			return nil
		}
	}
	between := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
	return err
}

// secure gives a member what its backend has to prove, where it speaks TLS.
func (g *group) secure(m *member, to Backend) {
	if !speaksTLS(g.config.scheme) {
		return
	}
	name := to.Name
	if name == "" {
		name = to.Addr.String()
	}
	m.tls = g.config.trust.config(name)
}

// target is the lease's backend as package http1 knows it.
func (l *lease) target(from source) http1.Target {
	return http1.Target{
		Addr: l.addr, Source: from.addr, Transparent: from.transparent,
		TLS: l.tls, HTTP2: l.scheme == schemeH2 || l.scheme == schemeH2C,
	}
}
