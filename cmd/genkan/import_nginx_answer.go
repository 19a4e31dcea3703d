package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"genkan/proxy/message"
	"genkan/proxy/web"
)

// toHTTPS is what an "if" that sends clients of http:// to https:// becomes in a server: Genkan does that by itself.
const toHTTPS = "to https"

// redirects turns the ways to write a redirect into "return": an "if" of certbot's for each name, one about the scheme,
// and a rewrite of everything.
func (im *nginxImport) redirects(block []directive) (out []directive) {
	names := map[string]bool{}
	for _, d := range find(block, "server_name") {
		for _, n := range d.args {
			names[n] = true
		}
	}
	var redirect *directive
	for _, d := range block {
		condition := strings.Trim(strings.Join(d.args, " "), "( )")
		variable, value, _ := strings.Cut(condition, " ")
		value = strings.Trim(strings.TrimLeft(value, "!= "), `"'`)
		whole := len(d.block) == 1 && d.block[0].name == "return" && strings.HasPrefix(strings.Join(d.block[0].args, " "), "301 https://")
		switch {
		case d.name == "if" && whole && variable == "$host" && strings.Contains(condition, " = ") && names[value]:
			delete(names, value)
			redirect = &d.block[0]
		case d.name == "if" && whole && (variable == "$scheme" && (value == "http" || value == "https") || variable == "$https"):
			out = append(out, directive{file: d.file, line: d.line, name: toHTTPS})
		case d.name == "rewrite" && wholeRewrite(d) != nil:
			redirect = wholeRewrite(d)
		default:
			out = append(out, d)
		}
	}
	switch {
	case redirect == nil:
		return out
	case len(names) > 0 && redirect.name == "return" && len(find(block, "if")) > 0 && len(find(out, "return", "location", "proxy_pass")) > 0:
		return block // some names are served: a site is one or the other
	}
	out = slices.DeleteFunc(out, func(d directive) bool { return d.name == "return" })
	return append(out, *redirect)
}

// wholeRewrite is a rewrite of every path to another server as a return, nil where it is none.
func wholeRewrite(d directive) *directive {
	if len(d.args) != 3 {
		return nil
	}
	status := map[string]string{"permanent": "301", "redirect": "302"}[d.args[2]]
	to := strings.TrimSuffix(d.args[1], "?")
	switch d.args[0] {
	case "^":
	case "^(.*)$", "^(.*)", "(.*)":
		to = strings.Replace(to, "$1", "$request_uri", 1)
	case "^/(.*)$", "^/(.*)", "/(.*)":
		to = strings.Replace(to, "/$1", "$request_uri", 1)
	default:
		return nil
	}
	if status == "" || !strings.HasPrefix(to, "http") && !strings.HasPrefix(to, "$scheme://") {
		return nil
	}
	return &directive{file: d.file, line: d.line, name: "return", args: []string{status, to}}
}

// answer writes a return. It reports false where it could not.
func (im *nginxImport) answer(d directive, server, kind string) bool {
	status, err := 302, error(nil)
	text := d.args
	if len(text) > 0 {
		if status, err = strconv.Atoi(text[0]); err != nil {
			status = 302
		} else {
			text = text[1:]
		}
	}
	to := strings.NewReplacer("$request_uri", "{path}", "$uri$is_args$args", "{path}", "$uri", "{path}", "$http_host", "{host}", "$host", "{host}",
		"$server_name", server, "$scheme", "https").Replace(strings.Join(text, " "))
	switch {
	case status == 444:
		im.out.WriteString("status = 403\n")
		im.leave(d, "Genkan answers 403; access = [\"deny all\"] does it with rules")
	case strings.Contains(to, "$"):
		im.leave(d, "a variable that Genkan does not know")
		return false
	case status >= 301 && status <= 308 && to != "":
		fmt.Fprintf(&im.out, "redirect = %q\nstatus = %d\n", to, status)
	case strings.Contains(strings.Join(text, " "), "$"):
		im.leave(d, "a body has no variables")
		return false
	default:
		fmt.Fprintf(&im.out, "status = %d\n", status)
		if status == 204 || status == 304 {
			to = "" // which nginx does not send either
		}
		if to != "" {
			fmt.Fprintf(&im.out, "body = %q\n", to)
		}
		if to != "" && kind != "" {
			fmt.Fprintf(&im.out, "content_type = %q\n", kind)
		}
	}
	return true
}

// announce writes how servers learn the client, of a whole server.
func (im *nginxImport) announce(in scope, routes []directive) {
	all := slices.Clone(in.all("proxy_set_header"))
	for _, l := range routes {
		all = append(all, find(l.block, "proxy_set_header")...)
	}
	words := []string{"x-forwarded-for"}
	for _, d := range all {
		switch name := strings.ToLower(first([]directive{d}, d.name)); {
		case (name == "x-real-ip" || name == "forwarded") && !slices.Contains(words, name):
			words = append(words, name)
		}
	}
	if len(words) > 1 {
		im.list("announce", words)
	}
}

// given are header fields that servers have without being told to set them, and announce's.
var given = regexp.MustCompile(`(?i)^(upgrade|connection|x-real-ip|forwarded|x-forwarded-(for|proto|host|port|server|ssl|scheme)|x-scheme)$`)

// headers writes proxy_set_header and add_header with fixed values. Who the client is, and Host, servers learn anyway.
func (im *nginxImport) headers(in scope) {
	for _, kind := range [][2]string{{"proxy_set_header", "request_headers"}, {"add_header", "response_headers"}} {
		var sets, removed []string
		for _, d := range in.all(kind[0]) {
			if len(d.args) < 2 {
				continue
			}
			name, value := d.args[0], d.args[1]
			request := kind[0] == "proxy_set_header"
			switch {
			case request && strings.EqualFold(name, "host") && (value == "$host" || strings.HasPrefix(value, "$http_host") || strings.HasPrefix(value, "$host:")):
			case request && given.MatchString(name):
			case strings.Contains(value, "$"):
				im.leave(d, "a variable")
			case message.IsHop(name) || strings.EqualFold(name, "host") || request && web.Claims(name):
				im.leave(d, "of the connection, or of who the client is; Genkan says that itself")
			case !message.IsToken(name) || !message.IsValue(value):
				im.leave(d, "no header of HTTP")
			case request && value == "":
				removed = append(removed, fmt.Sprintf("%q", name))
			default:
				sets = append(sets, fmt.Sprintf("%q = %q", name, value))
			}
		}
		var parts []string
		if sets != nil {
			parts = append(parts, "set = { "+strings.Join(sets, ", ")+" }")
		}
		if removed != nil {
			parts = append(parts, "remove = ["+strings.Join(removed, ", ")+"]")
		}
		if parts != nil {
			fmt.Fprintf(&im.out, "%s = { %s }\n", kind[1], strings.Join(parts, ", "))
		}
	}
}
