package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

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

// checkRelaying asks mail and DNS servers whether they do for our address what only friends may ask: where all clients
// look like us, the Internet may ask it, too.
func checkRelaying(ctx context.Context, p *patient) []diagnosis {
	var all []diagnosis
	for _, s := range p.plan.Services() {
		if !s.HidesClients {
			continue
		}
		for _, b := range s.To {
			switch b.Port {
			case 25, 587:
				all = append(all, mailTrusts(ctx, s.Name, b)...)
			case 53:
				all = append(all, nameServerTrusts(ctx, s.Name, b)...)
			}
		}
	}
	return all
}

// mailTrusts asks a mail server to take a letter for elsewhere, and breaks off before there is one.
func mailTrusts(ctx context.Context, name string, b proxy.Backend) []diagnosis {
	c, err := dial4(ctx, b)
	if err != nil {
		return nil // checkBackends has told
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for _, line := range []string{"", "EHLO genkan.invalid", "MAIL FROM:<doctor@genkan.invalid>", "RCPT TO:<doctor@example.com>"} {
		if line != "" {
			if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
				return nil
			}
		}
		code, err := reply(in)
		if err != nil || code[0] != '2' {
			fmt.Fprint(c, "QUIT\r\n")
			return []diagnosis{found("open relay", fine, "%s of %s takes no mail for elsewhere from this host", b, name)}
		}
	}
	fmt.Fprint(c, "RSET\r\nQUIT\r\n")
	return []diagnosis{found("open relay", bad, "%s of %s takes mail for example.com from this host", b, name).
		because("All clients of this forward look like this host: the Internet can send mail through the server.",
			"source = \"pool\" with a [pool.default], or announce = [\"proxy-v2\"] where the server reads it; or take this host out of its mynetworks")}
}

// reply reads an answer of SMTP, of one line or several, and returns its code.
func reply(in *bufio.Reader) (string, error) {
	for range 100 {
		line, err := in.ReadString('\n')
		if err != nil || len(line) < 4 {
			return "", fmt.Errorf("no answer: %w", err)
		}
		if line[3] != '-' {
			return line[:3], nil
		}
	}
	return "", errors.New("an endless answer")
}

// nameServerTrusts asks a name server for a name that is not its own.
func nameServerTrusts(ctx context.Context, name string, b proxy.Backend) []diagnosis {
	question := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	client := dns.Client{Net: "tcp", Timeout: backendPatience}
	answer, _, err := client.ExchangeContext(ctx, question, b.String())
	if err != nil || answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		return []diagnosis{found("open resolver", fine, "%s of %s looks up nothing for this host but its own names", b, name)}
	}
	return []diagnosis{found("open resolver", bad, "%s of %s looks up any name for this host", b, name).
		because("All clients of this forward look like this host: the server can be used to flood others.",
			"source = \"pool\" with a [pool.default]; or take this host out of its allow-recursion")}
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
