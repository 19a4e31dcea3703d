package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"genkan/proxy/certs/store"
)

// An authority is an ACME CA as a certmagic.Issuer. It is not certmagic's own
// one, as that opens ports 80 and 443 itself where it can, and keeps the
// challenges of all in one variable: here our own listeners answer (RFC 8555,
// RFC 8737), so what the CA meets is what clients meet.
type authority struct {
	settings   Settings
	store      *store.Store
	challenges *challenges
	preflight  *preflight
	http       *http.Client
	log        *slog.Logger
	closing    context.Context // ends what is on its way
	orders     gate            // of all CAs together
	suffix     string          // of the issuer's key

	mu     sync.Mutex // guards the fields below
	rested map[string]rest
}

// A rest is what an order for a name has to heed after one that failed.
type rest struct {
	until     time.Time // the CA wants to be left alone until then
	noReplace bool      // the next order does not say which certificate it replaces
}

const (
	orderWithin   = 10 * time.Minute // one order, with a DNS-01 that has to spread
	requestWithin = 30 * time.Second
	// longestRest bounds what a CA may ask for: after that we ask again.
	longestRest = 24 * time.Hour
)

func newAuthority(e *engine, roots *x509.CertPool, m *Manager, suffix string) *authority {
	dialer := &net.Dialer{Timeout: 15 * time.Second}
	return &authority{
		settings: e.settings, store: e.store, challenges: e.challenges, log: m.log, closing: m.life, orders: m.orders, suffix: suffix,
		preflight: &preflight{settings: e.settings, challenges: e.challenges, log: m.log},
		rested:    map[string]rest{},
		http: &http.Client{
			Timeout: requestWithin,
			Transport: noteRests{&http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         dialer.DialContext,
				TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout: 15 * time.Second,
				IdleConnTimeout:     30 * time.Second,
				MaxConnsPerHost:     16,
				ForceAttemptHTTP2:   true,
			}},
		},
	}
}

// close lets go of connections to the CA.
func (a *authority) close() { a.http.CloseIdleConnections() }

// IssuerKey names the CA in the store, as certmagic's own issuer does.
func (a *authority) IssuerKey() string {
	u, err := url.Parse(a.settings.CA)
	if err != nil {
		return a.settings.CA + a.suffix
	}
	key := u.Host
	if path := strings.Trim(strings.ReplaceAll(u.Path, "/", "-"), "-"); path != "" {
		key += "-" + path
	}
	return key + a.suffix
}

// Issue orders a certificate. The name is looked at first, without the CA.
func (a *authority) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	name := csrName(csr)
	heed := a.heed(name)
	if time.Until(heed.until) > 0 {
		return nil, &orderError{heed.until, fmt.Errorf("%s wants no order for %q before %s", a.settings.CA, name, heed.until.Format(time.RFC3339))}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.closing, cancel)()
	if err := a.orders.enter(ctx); err != nil {
		return nil, err
	}
	defer a.orders.leave()
	ctx, cancelOrder := context.WithTimeout(ctx, orderWithin)
	defer cancelOrder()
	if !a.settings.NoPreflight && !a.settings.usesDNS(name) {
		if err := a.preflight.check(ctx, name); err != nil {
			return nil, &orderError{err: err}
		}
	}
	asked := &asked{}
	chain, err := a.order(context.WithValue(ctx, askedKey{}, asked), csr, name, heed)
	if err != nil {
		return nil, a.failed(name, heed, asked, err)
	}
	a.mu.Lock()
	delete(a.rested, name)
	a.mu.Unlock()
	return &certmagic.IssuedCertificate{Certificate: chain.ChainPEM, Metadata: chain}, nil
}

// order is one order, and another one where the CA has lost our account.
func (a *authority) order(ctx context.Context, csr *x509.CertificateRequest, name string, heed rest) (acme.Certificate, error) {
	for again := true; ; again = false {
		client := a.client(name)
		account, err := a.account(ctx, client)
		if err != nil {
			return acme.Certificate{}, err
		}
		params, err := acmez.OrderParametersFromCSR(account, csr)
		if err != nil {
			return acme.Certificate{}, err
		}
		params.Profile = a.settings.Profile
		if !heed.noReplace {
			params.Replaces = a.present(ctx, name)
		}
		chains, err := client.ObtainCertificate(ctx, params)
		var problem acme.Problem
		switch {
		case err == nil && len(chains) > 0:
			return chains[0], nil
		case err == nil:
			return acme.Certificate{}, errors.New("the CA gave no certificate")
		case again && errors.As(err, &problem) && problem.Type == acme.ProblemTypeAccountDoesNotExist:
			a.log.Warn("the CA does not know our account any more: making another", "ca", a.settings.CA)
			if err := a.forgetAccount(ctx); err != nil {
				return acme.Certificate{}, err
			}
		default:
			return acme.Certificate{}, err
		}
	}
}

// failed remembers what the next order has to heed.
func (a *authority) failed(name string, heed rest, asked *asked, err error) error {
	// A CA may refuse for what the order says of the one before (RFC 9773 §5).
	next := rest{noReplace: !heed.noReplace}
	if wait := asked.wait(); wait > 0 {
		next.until = time.Now().Add(min(wait, longestRest))
	}
	a.mu.Lock()
	a.rested[name] = next
	a.mu.Unlock()
	return &orderError{next.until, err}
}

func (a *authority) heed(name string) rest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rested[name]
}

// client is a way to the CA that answers challenges as the name allows.
func (a *authority) client(name string) *acmez.Client {
	solvers := map[string]acmez.Solver{}
	if a.settings.usesDNS(name) {
		solvers[acme.ChallengeTypeDNS01] = dnsSolver{a.settings.DNS, a.settings.resolver()}
	} else {
		if a.settings.HTTP {
			solvers[acme.ChallengeTypeHTTP01] = httpSolver{a.challenges}
		}
		if a.settings.TLS {
			solvers[acme.ChallengeTypeTLSALPN01] = alpnSolver{a.challenges}
		}
	}
	return &acmez.Client{Client: a.acme(), ChallengeSolvers: solvers}
}

func (a *authority) acme() *acme.Client {
	return &acme.Client{
		Directory:   a.settings.CA,
		UserAgent:   "Genkan",
		HTTPClient:  a.http,
		PollTimeout: orderWithin,
		Logger:      slog.New(quieter{a.log.Handler()}),
	}
}

// present is the certificate that an order replaces, for ARI (RFC 9773 §5);
// nil where there is none.
func (a *authority) present(ctx context.Context, name string) *x509.Certificate {
	text, err := a.store.Load(ctx, certmagic.StorageKeys.SiteCert(a.IssuerKey(), name))
	if err != nil {
		return nil
	}
	leaf, err := firstCertificate(text)
	if err != nil || len(leaf.AuthorityKeyId) == 0 || time.Now().After(leaf.NotAfter) {
		return nil
	}
	return leaf
}

// GetRenewalInfo asks the CA when a certificate should be renewed (RFC 9773).
func (a *authority) GetRenewalInfo(ctx context.Context, cert certmagic.Certificate) (acme.RenewalInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	defer context.AfterFunc(a.closing, cancel)()
	return a.acme().GetRenewalInfo(ctx, cert.Leaf)
}

// A gate lets some in at once.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

func csrName(csr *x509.CertificateRequest) string {
	if len(csr.DNSNames) > 0 {
		return csr.DNSNames[0]
	}
	if len(csr.IPAddresses) > 0 {
		return csr.IPAddresses[0].String()
	}
	return ""
}

// An orderError is why an order failed, below what certmagic says around it.
type orderError struct {
	until time.Time // nothing is to be tried before; zero: no such wish
	err   error
}

func (e *orderError) Error() string { return e.err.Error() }
func (e *orderError) Unwrap() error { return e.err }

// asked is what the CA has answered in one order, kept in its context.
type asked struct {
	mu    sync.Mutex // guards after
	after time.Duration
}

type askedKey struct{}

func (a *asked) wait() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.after
}

// noteRests notes Retry-After of answers that refuse (RFC 8555 §6.6), which acmez
// does not hand on.
type noteRests struct{ http.RoundTripper }

// RoundTrip notes it.
func (t noteRests) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return answer, err
	}
	if note, ok := r.Context().Value(askedKey{}).(*asked); ok {
		note.mu.Lock()
		note.after = max(note.after, retryAfter(answer.Header.Get("Retry-After")))
		note.mu.Unlock()
	}
	return answer, nil
}

// CloseIdleConnections hands on what http.Client asks for.
func (t noteRests) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 where it is neither.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if when, err := http.ParseTime(text); err == nil {
		return max(time.Until(when), 0)
	}
	return 0
}
