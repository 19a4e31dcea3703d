package certs

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"genkan/proxy/dnsupdate"
)

// A dnsSolver is acmez's way to DNS-01: it puts the TXT record on the primary
// name server (RFC 2136) and waits until the others have it too. It holds no
// state: what was put there is taken away by name and content.
type dnsSolver struct {
	client   dnsupdate.Client
	resolver *net.Resolver // for the names of further name servers
}

const (
	txtTTL      = 60 // seconds; the record is gone before anybody asks again
	spreadEvery = time.Second
	spreadFor   = 2 * time.Minute
)

// Present adds the record. Others of the name stay: "example.jp" and
// "*.example.jp" share it.
func (s dnsSolver) Present(ctx context.Context, chal acme.Challenge) error {
	return s.update(ctx, chal, func(rr dns.RR) dnsupdate.Change { return dnsupdate.Change{Add: []dns.RR{rr}} })
}

// CleanUp removes it, though ctx may be over.
func (s dnsSolver) CleanUp(ctx context.Context, chal acme.Challenge) error {
	return s.update(context.WithoutCancel(ctx), chal, func(rr dns.RR) dnsupdate.Change { return dnsupdate.Change{Remove: []dns.RR{rr}} })
}

func (s dnsSolver) update(ctx context.Context, chal acme.Challenge, change func(dns.RR) dnsupdate.Change) error {
	zone, name, err := s.place(ctx, chal)
	if err != nil {
		return err
	}
	return s.client.Update(ctx, zone, change(record(name, chal)))
}

func record(name string, chal acme.Challenge) dns.RR {
	return &dns.TXT{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: txtTTL},
		Txt: []string{chal.DNS01KeyAuthorization()},
	}
}

// place finds where the record goes. A CNAME from the challenge's name leads
// CAs elsewhere (RFC 8555 §8.3 says to follow it), as operators do to keep
// updates out of their main zone.
func (s dnsSolver) place(ctx context.Context, chal acme.Challenge) (zone, name string, err error) {
	name = dns.CanonicalName(chal.DNS01TXTRecordName())
	for range 8 { // CNAMEs, of which sane zones have one
		next, err := s.alias(ctx, name)
		if err != nil {
			return "", "", err
		}
		if next == "" {
			break
		}
		name = next
	}
	zone, err = s.client.Zone(ctx, name)
	return zone, name, err
}

// alias gives where a CNAME leads, "" where there is none.
func (s dnsSolver) alias(ctx context.Context, name string) (string, error) {
	r, err := s.ask(ctx, s.client.Server, name, dns.TypeCNAME)
	if err != nil {
		return "", err
	}
	for _, rr := range r.Answer {
		if c, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(c.Hdr.Name) == name {
			return dns.CanonicalName(c.Target), nil
		}
	}
	return "", nil
}

// Wait waits until every name server of the zone that answers at all has the
// record: a CA asks any of them.
func (s dnsSolver) Wait(ctx context.Context, chal acme.Challenge) error {
	zone, name, err := s.place(ctx, chal)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, spreadFor)
	defer cancel()
	want := chal.DNS01KeyAuthorization()
	servers := s.servers(ctx, zone)
	for {
		servers = slices.DeleteFunc(servers, func(server string) bool {
			r, err := s.ask(ctx, server, name, dns.TypeTXT)
			if err != nil {
				return server != s.client.Server // a CA does not reach it either
			}
			return slices.ContainsFunc(r.Answer, func(rr dns.RR) bool {
				t, ok := rr.(*dns.TXT)
				return ok && strings.Join(t.Txt, "") == want
			})
		})
		if len(servers) == 0 {
			return nil
		}
		timer := time.NewTimer(spreadEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("DNS-01: %s has no TXT record %q after %s; do its servers copy the zone from %s?",
				strings.Join(servers, ", "), name, spreadFor, s.client.Server)
		case <-timer.C:
		}
	}
}

// servers are the zone's name servers: the one that takes updates, and those
// that the zone names and the system finds, at most eight.
func (s dnsSolver) servers(ctx context.Context, zone string) []string {
	all := []string{s.client.Server}
	r, err := s.ask(ctx, s.client.Server, zone, dns.TypeNS)
	if err != nil {
		return all
	}
	for _, rr := range r.Answer {
		ns, ok := rr.(*dns.NS)
		if !ok || len(all) > 8 {
			continue
		}
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		addrs, err := s.resolver.LookupNetIP(look, "ip", strings.TrimSuffix(ns.Ns, "."))
		cancel()
		if err == nil && len(addrs) > 0 {
			all = append(all, net.JoinHostPort(addrs[0].Unmap().String(), "53"))
		}
	}
	return all
}

func (s dnsSolver) ask(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	client := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	m := new(dns.Msg).SetQuestion(name, kind)
	m.RecursionDesired = false
	r, _, err := client.ExchangeContext(ctx, m, server)
	if err != nil {
		return nil, fmt.Errorf("DNS-01: %s: %s of %q: %w", server, dns.TypeToString[kind], name, err)
	}
	return r, nil
}
