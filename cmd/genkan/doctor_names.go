package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"genkan/proxy"
)

// mostNames bounds the questions to DNS.
const mostNames = 50

// checkNames compares what DNS says of each site, and of our address, with where we are.
func checkNames(ctx context.Context, p *patient) []diagnosis {
	own := p.addresses()
	if len(own) == 0 {
		return nil
	}
	var all []diagnosis
	names := p.siteNames()
	for i, host := range names {
		if i == mostNames {
			all = append(all, found("dns", warn, "there are more than %d names; the others were not looked up", mostNames).because("What is wrong with those is not seen here.", "dig +short AAAA NAME, for each"))
			break
		}
		all = append(all, name(ctx, host, own))
	}
	if len(names) > 0 && p.tunnel != nil { // of native addresses the PTR is the provider's
		all = append(all, p.pointer(ctx, names))
	}
	return all
}

// addresses are where IPv6 clients should come to: the tunnel's, or this host's own where there is no [tunnel].
func (p *patient) addresses() []netip.Addr {
	if p.tunnel != nil {
		return []netip.Addr{p.tunnel.Address}
	}
	var own []netip.Addr
	if p.plan.Tunnel != nil {
		return nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Is6() && !ip.Is4In6() && ip.IsGlobalUnicast() && !ip.IsPrivate() {
			own = append(own, ip)
		}
	}
	return own
}

// siteNames are the names in full of the sites that are reached over IPv6.
func (p *patient) siteNames() []string {
	var names []string
	for _, s := range p.plan.Proxy.Sites {
		if !slices.ContainsFunc(s.Listen, func(l proxy.Listen) bool { return !l.Addr.Is4() }) {
			continue
		}
		for _, host := range s.Hosts {
			if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "default" || strings.HasPrefix(host, "*") || !strings.Contains(host, ".") {
				continue
			}
			names = append(names, host)
		}
	}
	return names
}

// name looks a site's AAAA record up.
func name(ctx context.Context, host string, own []netip.Addr) diagnosis {
	fix := fmt.Sprintf("%s. IN AAAA %s", strings.TrimSuffix(host, "."), own[0])
	ctx, cancel := context.WithTimeout(ctx, backendPatience)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", host)
	var gone *net.DNSError
	switch {
	case errors.As(err, &gone) && gone.IsNotFound, err == nil && len(addrs) == 0:
		return found("dns", warn, "%s has no AAAA record", host).because("IPv6 clients do not find it. Write this line into the zone, or let [tunnel.dns_update] do it.", fix)
	case err != nil:
		return found("dns", warn, "%s cannot be looked up: %v", host, err).because("Whether clients find us cannot be seen.", "look at /etc/resolv.conf: does the name server there answer?")
	case !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(own, a) }):
		return found("dns", bad, "%s has the AAAA record %s, and we are %s", host, addrs[0], own[0]).
			because("IPv6 clients, and certificate authorities, go elsewhere. Write this line into the zone in its place, or let [tunnel.dns_update] do it.", fix)
	}
	return found("dns", fine, "%s points here", host)
}

// pointer looks up what our address is called.
func (p *patient) pointer(ctx context.Context, names []string) diagnosis {
	arpa, err := dns.ReverseAddr(p.tunnel.Address.String())
	if err != nil {
		return found("dns", warn, "%s has no reverse name: %v", p.tunnel.Address, err).because("Its PTR record cannot be looked up.", "genkan tunnel status")
	}
	fix := fmt.Sprintf("%s IN PTR %s.", arpa, strings.TrimSuffix(names[0], "."))
	const why = "Mail servers and logs of others want to know who we are. Write this line into the reverse zone, or ask the provider to; [tunnel.dns_update] keeps it right."
	ctx, cancel := context.WithTimeout(ctx, backendPatience)
	defer cancel()
	have, err := net.DefaultResolver.LookupAddr(ctx, p.tunnel.Address.String())
	var gone *net.DNSError
	switch {
	case errors.As(err, &gone) && gone.IsNotFound, err == nil && len(have) == 0:
		return found("dns", warn, "our address %s has no PTR record", p.tunnel.Address).because(why, fix)
	case err != nil:
		return found("dns", warn, "the PTR record of %s cannot be looked up: %v", p.tunnel.Address, err).because("Whether it names us cannot be seen.", "look at /etc/resolv.conf: does the name server there answer?")
	}
	for _, name := range have {
		if slices.ContainsFunc(names, func(n string) bool { return dns.CanonicalName(n) == dns.CanonicalName(name) }) {
			return found("dns", fine, "%s is called %s", p.tunnel.Address, strings.TrimSuffix(name, "."))
		}
	}
	return found("dns", warn, "our address %s is called %s, which is none of our sites", p.tunnel.Address, have[0]).because(why, fix)
}

// checkACME sees whether a certificate authority would find somebody on the port that it asks on: it comes over IPv6
// where there is an AAAA record, and does not fall back to IPv4 when that port is silent.
func checkACME(ctx context.Context, p *patient) []diagnosis {
	auto := func(s proxy.Site) bool {
		return s.CertSource == proxy.CertAuto && slices.ContainsFunc(s.Listen, func(l proxy.Listen) bool { return l.Tunnel })
	}
	at := slices.IndexFunc(p.plan.Proxy.Sites, auto)
	if at < 0 || p.tunnel == nil || p.plan.Proxy.Certs.DNS.Server != "" && p.plan.Proxy.Certs.DNSZone == "" {
		return nil
	}
	var silent []string
	for _, port := range []int{80, 443} {
		addr := net.JoinHostPort(p.tunnel.Address.String(), strconv.Itoa(port))
		within, cancel := context.WithTimeout(ctx, backendPatience)
		c, err := (&net.Dialer{}).DialContext(within, "tcp6", addr)
		cancel()
		if err != nil {
			silent = append(silent, addr)
			continue
		}
		c.Close()
	}
	switch len(silent) {
	case 0:
		return []diagnosis{found("acme", fine, "ports 80 and 443 answer on %s", p.tunnel.Address)}
	case 1:
		return []diagnosis{found("acme", warn, "%s does not answer", silent[0]).
			because("A certificate authority asks on port 80 or 443 over IPv6; one of the two is left.", fmt.Sprintf("[site.%q] listen = [\"tunnel:80\", \"tunnel:443\"]", p.plan.Proxy.Sites[at].Name))}
	}
	return []diagnosis{found("acme", bad, "neither %s nor %s answers", silent[0], silent[1]).
		because("The certificate authority asks there over IPv6, and gives no certificate.", fmt.Sprintf("[site.%q] listen = [\"tunnel:80\", \"tunnel:443\"], and systemctl start genkan", p.plan.Proxy.Sites[at].Name))}
}
