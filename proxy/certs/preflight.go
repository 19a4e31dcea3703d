package certs

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// A preflight looks, before an order, whether a CA would find us by the name:
// an order that fails counts against the name and the account with the CA. It
// asks each address that DNS has for the name as a CA would, and wants to hear
// what only this Genkan knows. CAs ask over IPv6 first, so one AAAA record that
// leads elsewhere spoils the order; that is the commonest failure.
type preflight struct {
	settings   Settings
	challenges *challenges
	log        *slog.Logger
}

const (
	lookWithin = 5 * time.Second
	mostAddrs  = 16 // of one name that are looked at
)

// check gives nil where a CA would find us, or the cause and the fix.
func (p *preflight) check(ctx context.Context, name string) error {
	if !p.settings.HTTP && !p.settings.TLS {
		return p.settings.Refuse(Subject{Name: name})
	}
	six, err := p.lookup(ctx, "ip6", name)
	if err != nil {
		return err
	}
	four, err := p.lookup(ctx, "ip4", name)
	if err != nil {
		return err
	}
	if len(six)+len(four) == 0 {
		return fmt.Errorf("no order: %s has neither an AAAA nor an A record; write one that leads here, or take the name away", name)
	}
	proof := acme.Challenge{
		Type: acme.ChallengeTypeHTTP01, Token: "genkan-" + rand.Text(), KeyAuthorization: rand.Text(),
		Identifier: acme.Identifier{Type: "dns", Value: name},
	}
	var solver acmez.Solver = httpSolver{p.challenges}
	if !p.settings.HTTP {
		solver = alpnSolver{p.challenges}
	}
	if err := solver.Present(ctx, proof); err != nil {
		return fmt.Errorf("no order: %w", err)
	}
	defer solver.CleanUp(ctx, proof)
	return errors.Join(p.all(ctx, six, proof), p.lenient(ctx, name, four, len(six) > 0, proof))
}

// all asks the addresses of AAAA records, each of which has to be ours.
func (p *preflight) all(ctx context.Context, addrs []netip.Addr, proof acme.Challenge) error {
	name := proof.Identifier.Value
	var errs []error
	for i, err := range p.each(ctx, addrs, proof) {
		if err != nil {
			errs = append(errs, fmt.Errorf("no order: the AAAA record %s of %s does not lead here: %w; correct or remove that record, as CAs ask over IPv6 first, or open port %d there, or write preflight = false in [acme]",
				addrs[i], name, err, p.port()))
		}
	}
	return errors.Join(errs...)
}

// lenient asks the addresses of A records. Behind a NAT one's own address often
// does not answer from inside, so only the answer of somebody else tells that
// it leads elsewhere; and where there is IPv6, that is what the CA asks.
func (p *preflight) lenient(ctx context.Context, name string, addrs []netip.Addr, hasSix bool, proof acme.Challenge) error {
	strangers := 0
	var last error
	for i, err := range p.each(ctx, addrs, proof) {
		if err == nil {
			continue
		}
		if errors.As(err, new(*strangerError)) {
			strangers, last = strangers+1, fmt.Errorf("the A record %s of %s does not lead here: %w", addrs[i], name, err)
		}
		p.log.Warn("a name does not lead here by IPv4, as far as can be seen from inside", "name", name, "address", addrs[i], "cause", err)
	}
	if !hasSix && strangers > 0 && strangers == len(addrs) {
		return fmt.Errorf("no order: %w; correct that record, or write preflight = false in [acme]", last)
	}
	return nil
}

// each asks all addresses at once and gives one error, or nil, for each.
func (p *preflight) each(ctx context.Context, addrs []netip.Addr, proof acme.Challenge) []error {
	errs := make([]error, len(addrs))
	var all sync.WaitGroup
	for i, addr := range addrs {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, lookWithin)
			defer cancel()
			if p.settings.HTTP {
				errs[i] = p.askHTTP(ctx, addr, proof)
			} else {
				errs[i] = p.askTLS(ctx, addr, proof)
			}
		})
	}
	all.Wait()
	return errs
}

// A strangerError says that somebody answered who is not us.
type strangerError struct{ what string }

func (e *strangerError) Error() string { return e.what }

func (p *preflight) port() uint16 {
	if p.settings.HTTP {
		return p.settings.HTTPPort
	}
	return p.settings.TLSPort
}

// askHTTP asks as HTTP-01 does, and follows no redirect: ours answers before.
func (p *preflight) askHTTP(ctx context.Context, addr netip.Addr, proof acme.Challenge) error {
	to := netip.AddrPortFrom(addr, p.port()).String()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		},
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+proof.Identifier.Value+proof.HTTP01ResourcePath(), nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return plainly(err, to)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1024))
	if err != nil || answer.StatusCode != http.StatusOK || string(body) != proof.KeyAuthorization {
		server := answer.Header.Get("Server")
		if server != "" {
			server = fmt.Sprintf(" (Server: %.60q)", server)
		}
		return &strangerError{fmt.Sprintf("another server answers on port %d there, with status %d%s", p.port(), answer.StatusCode, server)}
	}
	return nil
}

// askTLS asks as TLS-ALPN-01 does.
func (p *preflight) askTLS(ctx context.Context, addr netip.Addr, proof acme.Challenge) error {
	want, ok := p.challenges.alpn01(proof.Identifier.Value)
	if !ok {
		return errNoOrder
	}
	to := netip.AddrPortFrom(addr, p.port()).String()
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName: proof.Identifier.Value, NextProtos: []string{acmez.ACMETLS1Protocol},
		InsecureSkipVerify: true, // the certificate is compared below
	}}
	conn, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		return plainly(err, to)
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	if len(chain) == 0 || string(chain[0].Raw) != string(want.Certificate[0]) {
		return &strangerError{fmt.Sprintf("another server answers on port %d there", p.port())}
	}
	return nil
}

// plainly says why nobody could be asked, without what the message around says
// already.
func plainly(err error, to string) error {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("nothing answers at %s within %s", to, lookWithin)
	case errors.As(err, &op):
		return fmt.Errorf("connecting to %s: %w", to, cause(op.Err))
	}
	return err
}

// cause takes the system call's name off an error.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// lookup gives the addresses of one family, none where there are none.
func (p *preflight) lookup(ctx context.Context, network, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*lookWithin)
	defer cancel()
	addrs, err := p.settings.resolver().LookupNetIP(ctx, network, strings.TrimSuffix(name, ".")+".")
	var no *net.DNSError
	if errors.As(err, &no) && no.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("no order: the addresses of %s cannot be found: %w; is the DNS resolver of this host right?", name, err)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs[:min(len(addrs), mostAddrs)], nil
}

// resolver asks the DNS server of the settings, or the system's.
func (s Settings) resolver() *net.Resolver {
	server := s.Resolver
	if server == "" {
		return net.DefaultResolver
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
}
