package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"genkan/acl"
	"genkan/acl/forwarded"
	"genkan/cmd/genkan/config"
	"genkan/proxy/proxyproto"
)

// A way is how a client came: directly, or through proxies that say so in headers or a PROXY line.
type way struct {
	client, peer string   // as on the command line; peer "" is client
	via          []string // "Header: value", or "PROXY TCP6 …"
}

// A refusal is a client that does not even get as far as the rules.
type refusal struct{ error }

// resolve finds whom the rules judge, and the socket's other end. The error is a refusal where the daemon would refuse
// the connection or request.
func (w way) resolve(s config.Service) (client, peer acl.Addr, err error) {
	if peer, err = acl.ParseAddr(cmp.Or(w.peer, w.client)); err != nil {
		return client, peer, fmt.Errorf("client %w", err)
	}
	via := w.via
	if len(via) == 0 && w.peer != "" && w.client != "" {
		if client, err = acl.ParseAddr(w.client); err != nil {
			return client, peer, fmt.Errorf("client %w", err)
		}
		via = []string{announced(s, peer, client)}
	}
	client, err = w.behind(s, peer, via)
	return client, peer, err
}

// behind finds the client behind a peer that sends these lines.
func (w way) behind(s config.Service, peer acl.Addr, via []string) (acl.Addr, error) {
	known := peer
	introduced := false
	var fields []string
	for _, line := range via {
		if isProxyHeader(line) {
			var err error
			if known, err = proxied(s, peer, line); err != nil {
				return acl.Addr{}, err
			}
			introduced = true
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return acl.Addr{}, usagef("--via %q: write \"X-Forwarded-For: 192.0.2.1\" or \"PROXY TCP4 192.0.2.1 203.0.113.5 1 80\"", line)
		}
		if strings.EqualFold(name, string(s.Trust.Header)) {
			fields = append(fields, strings.TrimSpace(value))
		}
	}
	if !introduced && s.RequiresProxy(peer) {
		return acl.Addr{}, refusal{proxyproto.ErrNoHeader}
	}
	client, err := s.Trust.Client(known, fields)
	if err != nil {
		return acl.Addr{}, refusal{fmt.Errorf("answered with 400, as %w", err)}
	}
	return client, nil
}

// isProxyHeader reports whether a line is a PROXY header, of version 1 as it is sent or of version 2 in words.
func isProxyHeader(line string) bool {
	return strings.HasPrefix(line, "PROXY ") || strings.HasPrefix(line, "v2 ")
}

// announced is what a proxy at peer would say of a client to this service.
func announced(s config.Service, peer, client acl.Addr) string {
	switch {
	case s.AcceptsProxy(peer):
		family := "TCP6"
		if client.Is4() {
			family = "TCP4"
		}
		return fmt.Sprintf("PROXY %s %s %s 1 1", family, client, client)
	case s.Trust.Header == forwarded.Forwarded && client.Is6():
		return fmt.Sprintf("Forwarded: for=\"[%s]\"", client)
	case s.Trust.Header == forwarded.Forwarded:
		return fmt.Sprintf("Forwarded: for=%s", client)
	}
	return fmt.Sprintf("X-Forwarded-For: %s", client)
}

// proxied reads a PROXY line as a listener with accept_proxy does.
func proxied(s config.Service, peer acl.Addr, line string) (acl.Addr, error) {
	if !s.AcceptsProxy(peer) {
		return acl.Addr{}, refusal{fmt.Errorf("%s sends a PROXY header, and accept_proxy does not name it", peer)}
	}
	if words := strings.Fields(line); words[0] == "v2" {
		return binary(peer, words)
	}
	h, _, err := proxyproto.Parse([]byte(line + "\r\n"))
	switch {
	case err != nil:
		return acl.Addr{}, refusal{fmt.Errorf("the PROXY header is refused: %w", err)}
	case h.Local:
		return peer, nil
	}
	return addrOf(h.Source), nil
}

// binary reads version 2, which has no text of its own, as "v2 PROXY INET6 2001:db8::7", "v2 PROXY UNSPEC" or "v2 LOCAL".
func binary(peer acl.Addr, words []string) (acl.Addr, error) {
	command, family := "", ""
	if len(words) > 2 {
		command, family = words[1], words[2]
	}
	switch {
	case len(words) > 1 && words[1] == "LOCAL", command == "PROXY" && (family == "UNSPEC" || family == "UNIX"):
		return peer, nil // as proxyproto has it
	case len(words) == 4 && command == "PROXY" && (family == "INET" || family == "INET6"):
		client, err := acl.ParseAddr(words[3])
		if err != nil {
			return acl.Addr{}, fmt.Errorf("--via %w", err)
		}
		if strings.Contains(words[3], ":") != (family == "INET6") {
			return acl.Addr{}, usagef("--via %q: %q is no address of %s", strings.Join(words, " "), words[3], family)
		}
		return client, nil
	}
	return acl.Addr{}, usagef("--via %q: write \"v2 PROXY INET6 2001:db8::7\", \"v2 PROXY UNSPEC\" or \"v2 LOCAL\"", strings.Join(words, " "))
}

func addrOf(ap netip.AddrPort) acl.Addr { return acl.AddrFrom(ap.Addr()) }
