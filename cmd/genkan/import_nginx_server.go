package main

import (
	"fmt"
	"slices"
	"strings"
)

// handled are the directives of a server or location that the functions below look at.
var handled = []string{"listen", "server_name", "location", "proxy_pass", "allow", "deny", "return", "ssl_certificate", "ssl_certificate_key",
	"client_max_body_size", "proxy_set_header", "add_header", "ssl", "auth_basic", "auth_basic_user_file", "limit_req", "limit_conn",
	"set_real_ip_from", "real_ip_header", "real_ip_recursive", "proxy_ssl_trusted_certificate", "proxy_ssl_name", "proxy_ssl_verify", "proxy_ssl_verify_depth"}

// server writes one server block of http as a site with its routes.
func (im *nginxImport) server(d directive, around []directive) {
	d.block = im.redirects(d.block)
	at := im.listens(d.block, false)
	switch {
	case len(at.all) > 0:
	case find(d.block, "listen") != nil: // on a UNIX socket, which only this host reaches
		im.leave(d, "it listens nowhere that Genkan could")
		return
	default:
		at.all = []string{":80"}
	}
	hosts := im.hosts(d.block)
	if at.fallback || len(hosts) == 0 {
		hosts = append(hosts, "default")
	}
	hosts = distinctTexts(hosts)
	site := im.name(hosts[0])
	fmt.Fprintf(&im.out, "[site.%q] # %s:%d\n", site, d.file, d.line)
	if len(hosts) > 1 || site != hosts[0] || hosts[0] == "default" {
		im.list("hosts", hosts)
	}
	im.list("listen", at.all)
	root, routes := im.locations(d)
	in := scope{root, d.block, around}
	im.certificate(d.block, around, at)
	im.share(d, at, in)
	im.trust(in)
	im.siteAccess(in)
	im.maxBody(in.first("client_max_body_size"), false)
	im.announce(in, routes)
	im.headers(in)
	im.handling(in, true)
	im.unknown(d.block, handled)
	for _, l := range routes {
		im.route(site, l, in)
	}
	im.out.WriteString("\n")
}

// distinctTexts keeps the first of each text.
func distinctTexts(all []string) (once []string) {
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

// hosts translates server_name.
func (im *nginxImport) hosts(block []directive) (hosts []string) {
	for _, d := range find(block, "server_name") {
		for _, name := range d.args {
			switch {
			case name == "_" || name == "":
				hosts = append(hosts, "default")
			case strings.HasPrefix(name, "~") || strings.HasSuffix(name, ".*") || strings.Contains(name, "$"):
				im.leave(d, "Genkan knows names and *.NAME")
			case strings.HasPrefix(name, "."):
				hosts = append(hosts, name[1:], "*"+name)
			default:
				hosts = append(hosts, strings.ToLower(name))
			}
		}
	}
	return hosts
}

// certificate writes whose certificate it is, and what becomes of port 80 beside it.
func (im *nginxImport) certificate(block, around []directive, at listening) {
	if len(at.tls) == 0 {
		if slices.ContainsFunc(at.all, func(l string) bool { return strings.HasSuffix(l, ":443") }) {
			im.out.WriteString("tls = \"off\"\n") // no listen has "ssl"
		}
		return
	}
	in := scope{block, around}
	for _, pair := range [][2]string{{"ssl_certificate", "cert"}, {"ssl_certificate_key", "key"}} {
		all := in.all(pair[0])
		if len(all) == 0 || len(all[0].args) == 0 {
			continue
		}
		im.file(pair[1], all[0])
		for _, more := range all[1:] {
			im.leave(more, "a site has one certificate of its own")
		}
	}
	if len(at.tls) < len(at.all) && !slices.ContainsFunc(block, func(d directive) bool { return d.name == "return" || d.name == toHTTPS }) {
		im.out.WriteString("redirect_http = false\n") // nginx serves both
	}
}

// file writes a key with a file that a directive names.
func (im *nginxImport) file(key string, d directive) {
	if strings.Contains(d.args[0], "$") {
		im.leave(d, "a variable")
		return
	}
	fmt.Fprintf(&im.out, "%s = %q\n", key, im.path(d.args[0]))
}

// trust writes set_real_ip_from: whose header about the client is believed.
func (im *nginxImport) trust(in scope) {
	header := in.first("real_ip_header")
	if header == "" || strings.EqualFold(header, "proxy_protocol") {
		return
	}
	if !strings.EqualFold(header, "X-Forwarded-For") {
		im.leave(in.all("real_ip_header")[0], "trust_header is x-forwarded-for or forwarded")
		return
	}
	var from []string
	for _, d := range in.all("set_real_ip_from") {
		if len(d.args) == 1 && d.args[0] != "unix:" {
			from = append(from, d.args[0])
		}
	}
	if from != nil {
		im.list("trust", from)
	}
}

// locations splits those of a server: what stands in "location /" belongs to
// the site, the others are routes.
func (im *nginxImport) locations(server directive) (root, routes []directive) {
	for _, l := range find(server.block, "location") {
		args := l.args
		if len(args) == 2 && args[0] == "^~" {
			args = args[1:]
		}
		refuses := ""
		if find(l.block, "allow", "deny", "return", "auth_basic", "internal", "limit_req", "limit_conn") != nil {
			refuses = "; it refuses somebody, or answers by itself, so look at it"
		}
		switch {
		case len(find(server.block, "return")) > 0:
			im.leave(l, "the server's return comes before it")
		case len(args) == 1 && strings.HasPrefix(args[0], "/.well-known/acme-challenge"):
			im.leave(l, "Genkan answers its CA by itself; let your ACME client go")
		case len(args) == 1 && strings.HasPrefix(args[0], "@"):
			im.leave(l, "there are no named locations")
		case len(args) != 1 || !strings.HasPrefix(args[0], "/"):
			im.leave(l, "a route is a path with all below it"+refuses)
		case args[0] == "/":
			root = append(root, l.block...)
			im.unknown(l.block, handled)
		case refuses == "" && find(l.block, "proxy_pass", "client_max_body_size", "add_header", "proxy_set_header") == nil:
			why := "nginx serves files there; here the site's servers are asked"
			if len(find(l.block, "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass")) > 0 {
				why = "what it leads to is not spoken to by HTTP/1; here the site's servers are asked"
			}
			im.leave(l, why)
		default:
			l.args = args
			routes = append(routes, l)
		}
	}
	return root, routes
}

// route writes one location.
func (im *nginxImport) route(site string, l directive, in scope) {
	fmt.Fprintf(&im.out, "\n[[site.%q.route]] # %s:%d\npath = %q\n", site, l.file, l.line, strings.TrimSuffix(l.args[0], "/"))
	if !strings.HasSuffix(l.args[0], "/") && find(l.block, "allow", "deny", "auth_basic") != nil {
		im.leave(directive{file: l.file, line: l.line, name: "location", args: l.args, depth: true}, "nginx' rules hold for "+l.args[0]+"… too; a route is whole segments")
	}
	if pass := first(l.block, "proxy_pass"); strings.HasSuffix(pass, "/") && strings.Count(pass, "/") == 3 {
		im.out.WriteString("strip = true\n")
	}
	im.routeAccess(l, in)
	im.maxBody(first(l.block, "client_max_body_size"), true)
	im.headers(scope{l.block})
	if !im.handling(append(scope{l.block}, in[1:]...), false) {
		im.out.WriteString("status = 502\n") // else the site's servers would get it
		im.leave(directive{file: l.file, line: l.line, name: "location", args: l.args, depth: true}, "of what it leads to nothing could be carried over, so it answers 502; write to")
	}
	for _, d := range find(l.block, "proxy_ssl_trusted_certificate", "proxy_ssl_name", "proxy_ssl_verify") {
		im.leave(d, "backend_tls is of a whole site")
	}
	im.unknown(l.block, append([]string{"location"}, handled...))
	for _, inner := range find(l.block, "location") {
		im.leave(inner, "locations in a location are not looked at")
	}
}

// handling writes what becomes of requests in the innermost block of in, or, of a server with its "location /", in both.
// It reports false where there is something, of which nothing could be carried over.
func (im *nginxImport) handling(in scope, site bool) bool {
	block := in[0]
	if site {
		block = append(slices.Clone(in[1]), in[0]...)
	}
	answers := find(block, "return")
	if len(answers) > 0 {
		return im.answer(answers[0], first(in.all("server_name"), "server_name"), first(block, "default_type"))
	}
	if pass := find(block, "proxy_pass"); len(pass) > 0 {
		return im.backends(pass[len(pass)-1], in, site)
	} else if site && find(block, "location") != nil {
		im.leave(directive{file: in[1][0].file, line: in[1][0].line, name: "server"}, "it has no proxy_pass for all paths; write to")
	}
	return true
}

// list writes a key with one string or several.
func (im *nginxImport) list(key string, all []string) {
	var quoted []string
	for _, s := range all {
		quoted = append(quoted, fmt.Sprintf("%q", s))
	}
	fmt.Fprintf(&im.out, "%s = [%s]\n", key, strings.Join(quoted, ", "))
}

// maxBody writes client_max_body_size: 10m, 512k, 0 for no bound.
func (im *nginxImport) maxBody(size string, route bool) {
	size = strings.ToLower(size)
	switch {
	case size == "0" && route:
		im.out.WriteString("max_body = \"1024TiB\"\n") // nobody's bound, in the place of the site's
		return
	case size == "" || size == "0":
		return
	}
	units := map[byte]string{'k': "KiB", 'm': "MiB", 'g': "GiB"}
	if unit, ok := units[size[len(size)-1]]; ok {
		fmt.Fprintf(&im.out, "max_body = %q\n", size[:len(size)-1]+unit)
	} else {
		fmt.Fprintf(&im.out, "max_body = %s\n", size)
	}
}
