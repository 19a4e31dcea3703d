package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"genkan/acl"
)

// listenOf translates one listen of nginx: 80, *:80, [::]:80, 192.0.2.1:80, 192.0.2.1, and in a stream 5000-5010.
func listenOf(arg string) (string, bool) {
	switch host, ports, found := cutLast(arg, ":"); {
	case strings.HasPrefix(arg, "unix:"):
		return "", false
	case isPort(arg):
		return "0.0.0.0:" + arg, true
	case found && isPort(ports) && host == "*":
		return "0.0.0.0:" + ports, true
	case found && isPort(ports):
		return arg, true
	}
	if a, err := acl.ParsePrefix(arg); err == nil {
		if a.Is4() {
			return arg + ":80", true
		}
		return "[" + strings.Trim(arg, "[]") + "]:80", true
	}
	return "", false
}

// isPort reports whether a text is a port or a range of them.
func isPort(s string) bool {
	low, high, ranged := strings.Cut(s, "-")
	for _, p := range []string{low, high} {
		if n, err := strconv.ParseUint(p, 10, 16); (err != nil || n == 0) && (p == low || ranged) {
			return false
		}
	}
	return true
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// A listening is where a server of nginx listens, and how.
type listening struct {
	all      []string // as Genkan writes it; both wildcards of a port are ":PORT"
	tls      []string // those of them that speak TLS
	proxied  []string // those of them that take the PROXY protocol
	fallback bool     // default_server
}

// listens reads the listeners of a server.
func (im *nginxImport) listens(block []directive, stream bool) (found listening) {
	for _, d := range find(block, "listen") {
		if len(d.args) == 0 {
			continue
		}
		at, ok := listenOf(d.args[0])
		switch {
		case !ok:
			im.leave(d, "no address that Genkan listens on")
			continue
		case !stream && slices.Contains(d.args, "quic"):
			continue // where a site speaks TLS, it speaks HTTP/3 by itself
		case stream && slices.Contains(d.args, "udp"):
			at = "udp/" + at
		}
		if slices.Contains(d.args, "ipv6only=off") {
			at = strings.Replace(at, "[::]:", ":", 1)
		}
		at = found.join(at)
		found.fallback = found.fallback || slices.Contains(d.args, "default_server") || slices.Contains(d.args, "default")
		if slices.Contains(d.args, "ssl") || first(block, "ssl") == "on" {
			found.tls = append(found.tls, at)
		}
		if slices.Contains(d.args, "proxy_protocol") {
			found.proxied = append(found.proxied, at)
		}
	}
	return found
}

// join puts one listener to the others, each once.
func (l *listening) join(at string) string {
	for _, pair := range [][2]string{{"[::]:", "0.0.0.0:"}, {"0.0.0.0:", "[::]:"}} {
		network, address := "", at
		if rest, ok := strings.CutPrefix(at, "udp/"); ok {
			network, address = "udp/", rest
		}
		port, wild := strings.CutPrefix(address, pair[0])
		if !wild {
			continue
		}
		both, other := network+":"+port, network+pair[1]+port
		if slices.Contains(l.all, both) {
			return both
		}
		if slices.Contains(l.all, other) {
			for _, in := range []*[]string{&l.all, &l.tls, &l.proxied} {
				for i, s := range *in {
					if s == other {
						(*in)[i] = both
					}
				}
			}
			return both
		}
	}
	if !slices.Contains(l.all, at) {
		l.all = append(l.all, at)
	}
	return at
}

// A listenerTable is what sites and forwards on one listener share.
type listenerTable struct {
	tls    bool
	accept []string // load balancers that speak the PROXY protocol
}

// share notes what becomes of a server's listeners as [listener."…"]: TLS elsewhere than on port 443, and the PROXY
// protocol of those that set_real_ip_from names.
func (im *nginxImport) share(d directive, at listening, around scope) {
	table := func(name string) *listenerTable {
		if im.shared[name] == nil {
			im.shared[name] = new(listenerTable)
			im.sharedOrder = append(im.sharedOrder, name)
		}
		return im.shared[name]
	}
	for _, l := range at.tls {
		if !strings.HasSuffix(l, ":443") && !strings.HasPrefix(l, "udp/") {
			table(l).tls = true
		}
	}
	var from []string
	for _, f := range around.all("set_real_ip_from") {
		if _, err := acl.ParsePrefix(strings.Join(f.args, " ")); err == nil {
			from = append(from, f.args[0])
		}
	}
	for _, l := range at.proxied {
		if len(from) == 0 {
			im.leave(d, "proxy_protocol: write accept_proxy with the proxy's address into [listener."+strconv.Quote(l)+"]")
			continue
		}
		for _, f := range from {
			if t := table(l); !slices.Contains(t.accept, f) {
				t.accept = append(t.accept, f)
			}
		}
	}
}

// writeShared writes the tables of listeners.
func (im *nginxImport) writeShared() {
	for _, name := range im.sharedOrder {
		fmt.Fprintf(&im.out, "[listener.%q]\n", name)
		if t := im.shared[name]; t.tls {
			im.out.WriteString("tls = true\n")
		}
		if accept := im.shared[name].accept; accept != nil {
			im.list("accept_proxy", accept)
		}
		im.out.WriteString("\n")
	}
}
