package certs

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"genkan/proxy/dnsupdate"
)

// Settings are what all certificates that are not files have in common. They
// are compared by ==. The zero Settings keep nothing: Dir is needed.
type Settings struct {
	// Dir is where certificates, keys and the CA's account are kept.
	Dir string
	// CA is the address of the CA's directory, https. Empty: Let's Encrypt.
	CA string
	// CARoot is a PEM file with the roots that CA's own TLS is checked by.
	// Empty: the system's.
	CARoot string
	// Email is told to the CA. Empty: none.
	Email string
	// EABID and EABKey bind our account to one that the CA has given out (RFC
	// 8555 §7.3.4): its identifier, and the MAC key in base64url. Empty: none.
	EABID, EABKey string
	// Profile is a profile of the CA, such as "shortlived". Empty: its default.
	Profile string
	// DNS takes the records of DNS-01, which is used for the names in DNSZone
	// then, or for all where that is empty. Without a Server there is no DNS-01.
	DNS     dnsupdate.Client
	DNSZone string
	// Ask is the URL of an allow-list: with "?domain=NAME" behind, status 200
	// lets a certificate be ordered for a name that a client asks for and that
	// is not written down. Empty: there are none for such names.
	Ask string
	// NoPreflight orders without a look whether the name leads here.
	NoPreflight bool
	// Resolver is the DNS server, HOST or HOST:PORT, that is asked for the
	// addresses of names. Empty: the system's.
	Resolver string
	// HTTP and TLS say that the CA's questions on port 80, and on port 443,
	// are answered here.
	HTTP, TLS bool

	// HTTPPort and TLSPort are where the preflight asks. Zero: 80, 443.
	HTTPPort, TLSPort uint16
	// Retry is the first wait after a failure. Zero: a minute.
	Retry time.Duration
	// Check is how often it is looked which certificates are to be renewed.
	// Zero: ten minutes.
	Check time.Duration
	// Lifetime is of certificates of our own CA. Zero: 30 days.
	Lifetime time.Duration
}

// LetsEncrypt is the CA where no other is written.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// fill puts the defaults in.
func (s Settings) fill() Settings {
	if s.CA == "" {
		s.CA = LetsEncrypt
	}
	if s.HTTPPort == 0 {
		s.HTTPPort = 80
	}
	if s.TLSPort == 0 {
		s.TLSPort = 443
	}
	if s.Retry <= 0 {
		s.Retry = time.Minute
	}
	if s.Check <= 0 {
		s.Check = 10 * time.Minute
	}
	if s.Lifetime <= 0 {
		s.Lifetime = 30 * 24 * time.Hour
	}
	return s
}

// Validate says what is wrong with settings, all of it. It opens nothing but
// CARoot.
func (s Settings) Validate() []error {
	var errs []error
	if u, err := url.Parse(s.CA); s.CA != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		errs = append(errs, fmt.Errorf("ca %q is no https address; write that of the CA's directory, as %q", s.CA, LetsEncrypt))
	}
	if u, err := url.Parse(s.Ask); s.Ask != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		errs = append(errs, fmt.Errorf("on_demand %q is no address; write one as \"http://127.0.0.1:5555/ask\"", s.Ask))
	}
	if _, err := s.roots(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// roots reads CARoot; nil where the system's roots hold.
func (s Settings) roots() (*x509.CertPool, error) {
	if s.CARoot == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.CARoot)
	if err != nil {
		return nil, fmt.Errorf("ca_root %q: %w", s.CARoot, reason(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca_root %q: no certificate in it; want PEM", s.CARoot)
	}
	return pool, nil
}

// usesDNS tells whether the challenges of a name are answered in DNS.
func (s Settings) usesDNS(name string) bool {
	if s.DNS.Server == "" {
		return false
	}
	zone := strings.ToLower(strings.Trim(s.DNSZone, "."))
	name = strings.TrimPrefix(name, "*.")
	return zone == "" || name == zone || strings.HasSuffix(name, "."+zone)
}

// A Subject is one certificate that is to be had. Subjects are compared by ==.
type Subject struct {
	// Name is a host name in lower case, "*.NAME", or an address.
	Name string
	// Internal asks our own CA, whatever the name is.
	Internal bool
	// RSA asks for the kind of key that old clients need.
	RSA bool
}

// Refuse says why a subject cannot be had with these settings; nil if it can.
func (s Settings) Refuse(one Subject) error {
	switch {
	case one.Internal || Private(one.Name):
		return nil
	case s.usesDNS(one.Name):
		return nil
	case strings.HasPrefix(one.Name, "*."):
		return fmt.Errorf("a certificate for %q is to be had by DNS-01 only; write [acme] dns for its zone, or cert and key, or the names in place of the star", one.Name)
	case !s.HTTP && !s.TLS:
		return fmt.Errorf("no CA can ask here for %q: nothing listens on port 80, and no site on port 443; write a site that listens on one of them, [acme] dns, or cert and key", one.Name)
	}
	return nil
}

// Private tells that no public CA has certificates for a name: an address, a
// name without a dot, and what RFC 6761, 6762, 8375 and ICANN set aside.
func Private(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.TrimPrefix(name, "*.")
	if !strings.Contains(name, ".") {
		return true
	}
	for _, suffix := range []string{".localhost", ".local", ".internal", ".home.arpa", ".test", ".example", ".invalid", ".onion", ".lan"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
