package main

import (
	"fmt"
	"slices"
	"strings"

	"genkan/acl"
)

// backends writes to, and how it is chosen, of a site or of a route. It reports whether there are any.
func (im *nginxImport) backends(pass directive, in scope, site bool) bool {
	target := strings.Join(pass.args, " ")
	scheme, port := "", ":80"
	if rest, ok := strings.CutPrefix(target, "https://"); ok {
		target, scheme, port = rest, "https://", ":443"
	}
	name, path, _ := strings.Cut(strings.TrimPrefix(target, "http://"), "/")
	switch {
	case strings.Contains(target, "$") || strings.HasPrefix(name, "unix:"):
		im.leave(pass, "no address or name")
		return false
	case path != "":
		im.leave(pass, fmt.Sprintf("the path %q is not put in front", "/"+path))
	}
	if !im.to(pass, name, scheme, port, in, site) {
		return false
	}
	if scheme == "" {
		return true
	}
	ca := in.first("proxy_ssl_trusted_certificate")
	if site {
		im.backendTLS(ca, in.first("proxy_ssl_name"))
	}
	if (ca == "" || !site) && in.first("proxy_ssl_verify") != "on" {
		im.leave(pass, "nginx believes any server; Genkan checks its certificate: write backend_tls = { ca = \"FILE\" } where no known CA made it")
	}
	return true
}

// backendTLS writes how servers behind prove who they are.
func (im *nginxImport) backendTLS(ca, name string) {
	var parts []string
	if ca != "" {
		parts = append(parts, fmt.Sprintf("ca = %q", im.path(ca)))
	}
	if name != "" && !strings.Contains(name, "$") {
		parts = append(parts, fmt.Sprintf("name = %q", name))
	}
	if parts != nil {
		fmt.Fprintf(&im.out, "backend_tls = { %s }\n", strings.Join(parts, ", "))
	}
}

// to writes the servers that a name stands for: those of an upstream, or itself. It reports whether there are any.
func (im *nginxImport) to(pass directive, name, scheme, port string, in scope, alone bool) bool {
	var to []string
	found := false
	for _, up := range in.all("upstream") {
		if len(up.args) == 1 && up.args[0] == name {
			to, found = im.upstream(up, scheme, port, alone), true
		}
	}
	if at, ok := im.backend(pass, name, scheme, port); !found && ok {
		to = []string{at}
	}
	if to != nil {
		im.list("to", to)
	}
	return to != nil
}

// upstream returns the servers of one. alone says that balance may be written here.
func (im *nginxImport) upstream(up directive, scheme, port string, alone bool) (to []string) {
	for _, d := range up.block {
		balance := map[string]string{"least_conn": "least", "ip_hash": "hash", "hash": "hash"}[d.name]
		switch {
		case d.name == "server" && len(d.args) > 0:
			if slices.Contains(d.args, "down") {
				continue
			}
			if slices.Contains(d.args, "backup") {
				im.leave(d, "there are no servers in reserve; write a check, and it among the others")
				continue
			}
			if at, ok := im.backend(d, d.args[0], scheme, port); ok {
				to = append(to, at)
			}
			im.parameters(d)
		case balance != "" && alone:
			fmt.Fprintf(&im.out, "balance = %q\n", balance)
		case balance != "":
			im.leave(d, "balance is of a whole site")
		case d.name != "keepalive" && d.name != "keepalive_timeout" && d.name != "keepalive_requests" && d.name != "zone":
			im.leave(d, "unknown here")
		}
	}
	return to
}

// parameters lists what an upstream says of a server besides its address, and what an operator does instead.
func (im *nginxImport) parameters(d directive) {
	for _, arg := range d.args[1:] {
		switch name, _, _ := strings.Cut(arg, "="); name {
		case "weight":
			im.leave(d, "all backends are alike; genkan backend weight changes that while it runs")
		case "max_conns":
			im.leave(d, "max_conns of the site or forward is how much one backend is given at once")
		case "max_fails", "fail_timeout":
			im.leave(d, "write check, which has fall and interval")
		case "resolve": // names are always looked up again
		default:
			im.leave(d, fmt.Sprintf("%q: unknown here", arg))
		}
	}
}

// backend is one server as to has it.
func (im *nginxImport) backend(d directive, host, scheme, port string) (string, bool) {
	if rest, ok := strings.CutPrefix(host, "localhost"); ok && (rest == "" || rest[0] == ':') {
		host = "127.0.0.1" + rest // the local host by IPv4
	}
	switch {
	case strings.HasPrefix(host, "unix:"):
		im.leave(d, "a server is an IPv4 address or a name; let it listen on 127.0.0.1, too")
		return "", false
	case strings.HasPrefix(host, "["):
		im.leave(d, "servers behind Genkan are IPv4 only; write its IPv4 address")
		return "", false
	case strings.Contains(host, ":"):
		return scheme + host, true
	}
	return scheme + host + port, true
}

// stream writes the servers of a stream block as forwards.
func (im *nginxImport) stream(block []directive) {
	for _, d := range block {
		if d.name != "server" {
			continue
		}
		at := im.listens(d.block, true)
		pass := find(d.block, "proxy_pass")
		if len(at.all) == 0 || len(pass) == 0 {
			im.leave(d, "it needs listen and proxy_pass")
			continue
		}
		target := first(pass, "proxy_pass")
		if names, ok := sniMap(block, target); ok && first(d.block, "ssl_preread") == "on" {
			im.forwardsByName(d, at, names, block)
		} else {
			im.forward(d, at, pass[0], target, nil, block)
		}
		im.unknown(d.block, []string{"listen", "proxy_pass", "proxy_protocol", "allow", "deny", "limit_conn", "proxy_timeout",
			"ssl_certificate", "ssl_certificate_key", "set_real_ip_from"})
	}
	im.unknown(block, append([]string{"server"}, elsewhere...))
}

// forward writes one forward of a server.
func (im *nginxImport) forward(d directive, at listening, pass directive, target string, sni []string, block []directive) {
	_, port, _ := cutLast(at.all[0], ":")
	name := "port-" + port
	if len(sni) > 0 {
		name = sni[0]
	}
	fmt.Fprintf(&im.out, "[forward.%q] # %s:%d\n", im.name(name), d.file, d.line)
	im.list("listen", at.all)
	if sni != nil {
		im.list("sni", sni)
	}
	in := scope{nil, d.block, block}
	if strings.Contains(target, "$") {
		im.leave(pass, "no address or name")
	} else {
		im.to(pass, target, "", "", in, true)
	}
	if in.first("proxy_protocol") == "on" {
		im.out.WriteString("announce = [\"proxy-v1\"]\n")
	}
	if idle := nginxTime(in.first("proxy_timeout")); idle != "" {
		fmt.Fprintf(&im.out, "idle = %q\n", idle)
	}
	if len(at.tls) > 0 {
		for _, pair := range [][2]string{{"ssl_certificate", "cert"}, {"ssl_certificate_key", "key"}} {
			if all := in.all(pair[0]); len(all) > 0 && len(all[0].args) > 0 {
				im.file(pair[1], all[0])
			}
		}
	}
	at.tls = nil // of a forward, its certificate says that
	im.share(d, at, in)
	if rules := im.rules(in); rules != nil {
		im.list("access", rules)
	}
	im.out.WriteString("\n")
}

// nginxTime is a time of nginx, "600" or "10m", as Genkan writes it; "" for none.
func nginxTime(s string) string {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		return s + "s"
	}
	return s
}

// An sniTarget is one entry of a map of TLS names.
type sniTarget struct {
	directive
	names []string // nil: all others
	to    string
}

// sniMap finds the map of $ssl_preread_server_name that gives a variable.
func sniMap(block []directive, variable string) (all []sniTarget, found bool) {
	for _, m := range find(block, "map") {
		if len(m.args) != 2 || m.args[0] != "$ssl_preread_server_name" || m.args[1] != variable {
			continue
		}
		for _, e := range m.block {
			switch {
			case len(e.args) != 1 || e.name == "include":
			case e.name == "default":
				all = append(all, sniTarget{e, nil, e.args[0]})
			case strings.HasPrefix(e.name, "."):
				all = append(all, sniTarget{e, []string{e.name[1:], "*" + e.name}, e.args[0]})
			default:
				all = append(all, sniTarget{e, []string{e.name}, e.args[0]})
			}
		}
		return all, true
	}
	return nil, false
}

// forwardsByName writes one forward a TLS name.
func (im *nginxImport) forwardsByName(d directive, at listening, targets []sniTarget, block []directive) {
	for _, t := range targets {
		if t.names != nil && (strings.HasPrefix(t.names[0], "~") || strings.HasSuffix(t.names[0], ".*")) {
			im.leave(t.directive, "Genkan knows names and *.NAME")
			continue
		}
		if _, err := acl.ParseAddr(t.to); err == nil {
			im.leave(t.directive, "it has no port")
			continue
		}
		im.forward(d, at, t.directive, t.to, t.names, block)
	}
}
