package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"genkan/proxy"
)

// checkListeners sees whether our ports are free, where Genkan does not run.
func checkListeners(_ context.Context, p *patient) []diagnosis {
	if p.running != nil {
		return []diagnosis{found("ports", fine, "Genkan listens on %s", strings.Join(p.running.Listening, ", "))}
	}
	var all []diagnosis
	for _, l := range p.plan.Listens() {
		if l.Network != "tcp" || l.Tunnel {
			continue
		}
		addr := netip.AddrPortFrom(netip.IPv6Unspecified(), l.Port)
		if l.Addr.IsValid() {
			addr = netip.AddrPortFrom(l.Addr.Netip(), l.Port)
		}
		one, err := net.Listen("tcp", addr.String())
		switch {
		case err == nil:
			one.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			all = append(all, found("ports", bad, "another program listens on %s", l).
				because("Genkan cannot start beside it.", fmt.Sprintf("ss -ltnp 'sport = :%d' names it; stop it, or let it listen on 127.0.0.1 and put Genkan before it", l.Port)))
		}
	}
	if len(all) == 0 {
		all = append(all, found("ports", warn, "Genkan does not run; no other program has its ports").because("", "systemctl start genkan"))
	}
	return all
}

// checkBackends connects to each server behind.
func checkBackends(ctx context.Context, p *patient) []diagnosis {
	var all []diagnosis
	seen := make(map[string]bool)
	for _, s := range p.plan.Services() {
		for _, b := range s.To {
			if seen[b.String()] || s.UDP {
				continue
			}
			seen[b.String()] = true
			c, err := dial4(ctx, b)
			if err != nil {
				all = append(all, found("backend", bad, "%s of %s cannot be reached: %v", b, s.Name, err).
					because("Clients get 502, or a reset.", fmt.Sprintf("start the server, or look at the firewall between: nc -vz %s", strings.Replace(b.String(), ":", " ", 1))))
				continue
			}
			c.Close()
			all = append(all, found("backend", fine, "%s of %s answers", b, s.Name))
		}
	}
	return all
}

// backendPatience bounds one connection to a server.
const backendPatience = 5 * time.Second

func dial4(ctx context.Context, b proxy.Backend) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, backendPatience)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", b.String())
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(backendPatience))
}

// checkNames compares what DNS says of each site with where it is served.
func checkNames(ctx context.Context, p *patient) []diagnosis {
	if p.tunnel == nil {
		return nil
	}
	var all []diagnosis
	for _, s := range p.plan.Proxy.Sites {
		if !slices.ContainsFunc(s.Listen, func(l proxy.Listen) bool { return l.Tunnel }) {
			continue
		}
		for _, host := range s.Hosts {
			if host == "default" || strings.HasPrefix(host, "*") || !strings.Contains(host, ".") {
				continue
			}
			all = append(all, p.name(ctx, host))
			if len(all) == mostNames {
				return append(all, found("dns", warn, "more than %d names; the others were not looked up", mostNames))
			}
		}
	}
	return all
}

// mostNames bounds the questions to DNS.
const mostNames = 50

func (p *patient) name(ctx context.Context, host string) diagnosis {
	fix := fmt.Sprintf("%s. IN AAAA %s", host, p.tunnel.Address)
	ctx, cancel := context.WithTimeout(ctx, backendPatience)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", host)
	var gone *net.DNSError
	switch {
	case errors.As(err, &gone) && gone.IsNotFound, err == nil && len(addrs) == 0:
		return found("dns", warn, "%s has no AAAA record", host).because("IPv6 clients do not find it.", fix)
	case err != nil:
		return found("dns", warn, "%s cannot be looked up: %v", host, err)
	case !slices.Contains(addrs, p.tunnel.Address):
		return found("dns", bad, "%s has the AAAA record %s, and we are %s", host, addrs[0], p.tunnel.Address).
			because("IPv6 clients, and certificate authorities, go elsewhere.", fix)
	}
	return found("dns", fine, "%s points here", host)
}
