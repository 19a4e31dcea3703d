package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// handled are the directives of a server or location that the functions below look at.
var handled = []string{"listen", "server_name", "location", "proxy_pass", "allow", "deny", "return", "ssl_certificate", "ssl_certificate_key",
	"client_max_body_size", "proxy_set_header", "add_header", "ssl"}

// server writes one server block of http as a site with its routes.
func (im *nginxImport) server(d directive, around []directive) {
	listens, fallback, proxied := im.listens(d.block, false)
	if len(listens) == 0 {
		listens = []string{":80"}
	}
	hosts := im.hosts(d.block)
	if fallback || len(hosts) == 0 {
		hosts = append(hosts, "default")
	}
	site := im.name(hosts[0])
	fmt.Fprintf(&im.out, "[site.%q] # %s:%d\n", site, d.file, d.line)
	if len(hosts) > 1 || site != hosts[0] || hosts[0] == "default" {
		im.list("hosts", hosts)
	}
	im.list("listen", listens)
	if proxied {
		im.leave(d, "proxy_protocol: write accept_proxy with the proxy's address into [listener.\""+listens[0]+"\"]")
	}
	for _, pair := range [][2]string{{"ssl_certificate", "cert"}, {"ssl_certificate_key", "key"}} {
		if file := first(d.block, pair[0]); file != "" {
			fmt.Fprintf(&im.out, "%s = %q\n", pair[1], file)
		}
	}
	im.access(d.block, around)
	if find(d.block, "client_max_body_size") == nil {
		im.maxBody(around)
	}
	root, routes := im.locations(d)
	im.handling(append(slices.Clone(d.block), root...), around)
	for _, l := range routes {
		im.route(site, l, around)
	}
	im.unknown(d.block)
	im.out.WriteString("\n")
}

// hosts translates server_name.
func (im *nginxImport) hosts(block []directive) (hosts []string) {
	for _, d := range find(block, "server_name") {
		for _, name := range d.args {
			switch {
			case name == "_" || name == "":
				hosts = append(hosts, "default")
			case strings.HasPrefix(name, "~") || strings.HasSuffix(name, ".*"):
				im.leave(d, "Genkan knows names and *.NAME")
			case strings.HasPrefix(name, "."):
				hosts = append(hosts, name[1:], "*"+name)
			default:
				hosts = append(hosts, name)
			}
		}
	}
	return hosts
}

// locations splits those of a server: what stands in "location /" belongs to
// the site, the others are routes.
func (im *nginxImport) locations(server directive) (root, routes []directive) {
	for _, l := range find(server.block, "location") {
		args := l.args
		if len(args) == 2 && args[0] == "^~" {
			args = args[1:]
		}
		switch {
		case len(args) != 1 || !strings.HasPrefix(args[0], "/"):
			im.leave(l, "a route is a path with all below it")
		case args[0] == "/":
			root = append(root, l.block...)
			im.unknown(l.block)
		default:
			l.args = args
			routes = append(routes, l)
		}
	}
	return root, routes
}

// route writes one location.
func (im *nginxImport) route(site string, l directive, around []directive) {
	fmt.Fprintf(&im.out, "\n[[site.%q.route]] # %s:%d\npath = %q\n", site, l.file, l.line, strings.TrimSuffix(l.args[0], "/"))
	if pass := first(l.block, "proxy_pass"); strings.HasSuffix(pass, "/") && strings.Count(pass, "/") == 3 {
		im.out.WriteString("strip = true\n")
	}
	if find(l.block, "allow") != nil || find(l.block, "deny") != nil {
		im.access(l.block, nil)
	}
	im.handling(l.block, around)
	im.unknown(l.block)
}

// handling writes what becomes of requests.
func (im *nginxImport) handling(block, around []directive) {
	for _, d := range find(block, "return") {
		im.answer(d)
	}
	if pass := find(block, "proxy_pass"); len(pass) > 0 && find(block, "return") == nil {
		im.backends(pass[len(pass)-1], around, "http://")
	}
	im.maxBody(block)
	im.headers(block)
}

// answer writes a return.
func (im *nginxImport) answer(d directive) {
	status, err := 302, error(nil)
	text := d.args
	if len(text) > 0 {
		if status, err = strconv.Atoi(text[0]); err != nil {
			status = 302
		} else {
			text = text[1:]
		}
	}
	to := strings.NewReplacer("$host", "{host}", "$http_host", "{host}", "$request_uri", "{path}", "$uri", "{path}", "$scheme", "https").Replace(strings.Join(text, " "))
	switch {
	case status == 444:
		im.leave(d, "Genkan answers; access = [\"deny all\"] refuses")
	case strings.Contains(to, "$"):
		im.leave(d, "a variable that Genkan does not know")
	case status >= 301 && status <= 308 && to != "":
		fmt.Fprintf(&im.out, "redirect = %q\nstatus = %d\n", to, status)
	default:
		fmt.Fprintf(&im.out, "status = %d\n", status)
		if to != "" {
			fmt.Fprintf(&im.out, "body = %q\n", to)
		}
	}
}

// backends writes to, and how it is chosen.
func (im *nginxImport) backends(pass directive, around []directive, scheme string) {
	target := strings.Join(pass.args, " ")
	if rest, ok := strings.CutPrefix(target, "https://"); ok && scheme != "" {
		target, scheme = rest, "https://"
	}
	target = strings.TrimPrefix(target, scheme)
	name, path, _ := strings.Cut(target, "/")
	switch {
	case strings.Contains(target, "$") || strings.HasPrefix(target, "unix:"):
		im.leave(pass, "no address or name")
		return
	case path != "":
		im.leave(pass, "the path "+strconv.Quote("/"+path)+" is not put in front")
	}
	prefix := strings.TrimPrefix(scheme, "http://")
	port := map[string]string{"http://": ":80", "https://": ":443"}[scheme]
	var to []string
	for _, up := range find(around, "upstream") {
		if len(up.args) == 1 && up.args[0] == name {
			to = im.upstream(up, prefix, port)
		}
	}
	if to == nil {
		to = []string{prefix + withPort(name, port)}
	}
	im.list("to", to)
}

// upstream returns the servers of one.
func (im *nginxImport) upstream(up directive, scheme, port string) (to []string) {
	for _, d := range up.block {
		switch {
		case d.name == "server" && len(d.args) > 0 && !slices.Contains(d.args, "down"):
			to = append(to, scheme+withPort(d.args[0], port))
			if len(d.args) > 1 {
				im.leave(d, "all backends are alike")
			}
		case d.name == "least_conn":
			im.out.WriteString("balance = \"least\"\n")
		case d.name == "ip_hash" || d.name == "hash":
			im.out.WriteString("balance = \"hash\"\n")
		case d.name != "keepalive" && d.name != "zone":
			im.leave(d, "unknown here")
		}
	}
	return to
}

// withPort adds a port to what has none. Genkan's backends are IPv4: the local host is 127.0.0.1.
func withPort(host, port string) string {
	if rest, ok := strings.CutPrefix(host, "localhost"); ok && (rest == "" || rest[0] == ':') {
		host = "127.0.0.1" + rest
	}
	if strings.Contains(host, ":") {
		return host
	}
	return host + port
}

// access writes allow and deny; without any, those of the block around hold.
func (im *nginxImport) access(block, around []directive) {
	var rules []string
	for _, d := range block {
		if (d.name == "allow" || d.name == "deny") && len(d.args) == 1 {
			if d.args[0] == "unix:" {
				im.leave(d, "no address")
				continue
			}
			rules = append(rules, d.name+" "+d.args[0])
		}
	}
	if rules == nil && around != nil {
		im.access(around, nil)
		return
	}
	if rules == nil {
		return
	}
	if last := rules[len(rules)-1]; last != "deny all" && last != "allow all" {
		rules = append(rules, "allow all") // what nginx does where no rule matches
	}
	im.list("access", rules)
}

// maxBody writes client_max_body_size: 10m, 512k, 0 for no bound.
func (im *nginxImport) maxBody(block []directive) {
	size := strings.ToLower(first(block, "client_max_body_size"))
	if size == "" || size == "0" {
		return
	}
	units := map[byte]string{'k': "KiB", 'm': "MiB", 'g': "GiB"}
	if unit, ok := units[size[len(size)-1]]; ok {
		fmt.Fprintf(&im.out, "max_body = %q\n", size[:len(size)-1]+unit)
	} else {
		fmt.Fprintf(&im.out, "max_body = %s\n", size)
	}
}

// headers writes proxy_set_header and add_header with fixed values. Who the
// client is, and Host, the backend learns anyway.
func (im *nginxImport) headers(block []directive) {
	announce := []string{"x-forwarded-for"}
	sets := map[string][]string{}
	for _, d := range block {
		if d.name != "proxy_set_header" && d.name != "add_header" || len(d.args) < 2 {
			continue
		}
		name, value := strings.ToLower(d.args[0]), d.args[1]
		switch {
		case name == "x-real-ip":
			announce = append(announce, "x-real-ip")
		case name == "host" && (value == "$host" || value == "$http_host") || strings.HasPrefix(name, "x-forwarded-") || name == "upgrade" || name == "connection":
		case strings.Contains(value, "$"):
			im.leave(d, "a variable")
		default:
			key := map[string]string{"proxy_set_header": "request_headers", "add_header": "response_headers"}[d.name]
			sets[key] = append(sets[key], fmt.Sprintf("%q = %q", d.args[0], value))
		}
	}
	if len(announce) > 1 {
		im.list("announce", slices.Compact(announce))
	}
	for _, key := range []string{"request_headers", "response_headers"} {
		if sets[key] != nil {
			fmt.Fprintf(&im.out, "%s = { set = { %s } }\n", key, strings.Join(sets[key], ", "))
		}
	}
}

// unknown lists what no function here has looked at.
func (im *nginxImport) unknown(block []directive) {
	for _, d := range block {
		if !slices.Contains(handled, d.name) && !slices.Contains(own, d.name) {
			im.leave(d, "unknown here")
		}
	}
}

// stream writes the servers of a stream block as forwards.
func (im *nginxImport) stream(block []directive) {
	for _, d := range block {
		if d.name != "server" {
			if d.name != "upstream" && !slices.Contains(own, d.name) {
				im.leave(d, "it stands outside of a server")
			}
			continue
		}
		listens, _, _ := im.listens(d.block, true)
		pass := find(d.block, "proxy_pass")
		if len(listens) == 0 || len(pass) == 0 {
			im.leave(d, "it needs listen and proxy_pass")
			continue
		}
		_, port, _ := cutLast(listens[0], ":")
		fmt.Fprintf(&im.out, "[forward.%s] # %s:%d\n", im.name("port-"+port), d.file, d.line)
		im.list("listen", listens)
		im.backends(pass[0], block, "")
		if first(d.block, "proxy_protocol") == "on" {
			im.out.WriteString("announce = [\"proxy-v1\"]\n")
		}
		im.access(d.block, block)
		for _, other := range d.block {
			if !slices.Contains([]string{"listen", "proxy_pass", "proxy_protocol", "allow", "deny"}, other.name) {
				im.leave(other, "unknown here")
			}
		}
		im.out.WriteString("\n")
	}
}

// list writes a key with one string or several.
func (im *nginxImport) list(key string, all []string) {
	var quoted []string
	for _, s := range all {
		quoted = append(quoted, strconv.Quote(s))
	}
	fmt.Fprintf(&im.out, "%s = [%s]\n", key, strings.Join(quoted, ", "))
}
