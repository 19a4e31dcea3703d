package web

import (
	"strings"

	"genkan/acl"
)

// Claims tells whether a field of this name, from a client whom nobody
// trusts, speaks of things that only a proxy can know, and so must go: in the
// header as in the trailer. Names are compared as a CGI backend folds them
// (RFC 3875 §4.1.18): X_Forwarded_For and X.Forwarded.For arrive there as
// HTTP_X_FORWARDED_FOR too, with lighttpd even X~Forwarded~For.
func Claims(name string) bool {
	var room [32]byte // longer than any name below
	n := min(len(name), len(room))
	for i := range n {
		room[i] = fold(name[i])
	}
	for _, family := range [...]string{"x-forwarded", "x-original-forwarded", "x-ssl-client-", "client-cert", "x-envoy-"} {
		if n >= len(family) && string(room[:len(family)]) == family {
			return true
		}
	}
	if n < len(name) {
		return false
	}
	switch string(room[:n]) {
	case "forwarded", "forwarded-for", "x-real-ip", "x-real-port", "client-ip", "x-client-ip", "x-client-ipv6",
		"x-client-port", "true-client-ip", "x-true-client-ip", "x-remote-ip", "x-remote-addr", "remote-addr", "pseudo-ipv4",
		"x-cluster-client-ip", "x-originating-ip", "proxy-client-ip", "wl-proxy-client-ip",
		"cf-connecting-ip", "cf-connecting-ipv6", "cf-connecting-ipv4", "cf-pseudo-ipv4", "fastly-client-ip",
		"fly-client-ip", "x-nf-client-connection-ip", "x-appengine-user-ip", "x-azure-clientip", "x-azure-socketip",
		"x-proxyuser-ip", "x-original-host", "x-original-url", "x-rewrite-url", "x-url-scheme",
		"x-http-host-override", "x-https", "front-end-https",
		"proxy": // httpoxy, CVE-2016-5385: becomes HTTP_PROXY
		return true
	}
	return false
}

// SameField tells whether a CGI backend takes two names for one.
func SameField(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		return c
	}
	return '-'
}

// A Field is one header or trailer line.
type Field struct{ Name, Value string }

// An Identity is what the backend may be told about a request.
type Identity struct {
	Client acl.Addr
	Scheme string   // "http" or "https", as the client spoke
	Host   string   // as the client wrote it
	Pseudo acl.Addr // the client's pool address; zero: none
}

// AppendTo appends the header fields that announce id in the given ways, which
// are those of Site.Announce. pseudoHeader names the field of "pseudo-ipv4".
func (id Identity) AppendTo(fields []Field, announce []string, pseudoHeader string) []Field {
	client := id.Client.String()
	for _, way := range announce {
		switch way {
		case "x-forwarded-for":
			fields = append(fields, Field{"X-Forwarded-For", client}, Field{"X-Forwarded-Proto", id.Scheme})
			if id.Host != "" {
				fields = append(fields, Field{"X-Forwarded-Host", id.Host})
			}
		case "forwarded":
			fields = append(fields, Field{"Forwarded", id.forwarded()})
		case "x-real-ip":
			fields = append(fields, Field{"X-Real-IP", client})
		case "pseudo-ipv4":
			pseudo := id.Pseudo
			if id.Client.Is4() {
				pseudo = id.Client
			}
			if pseudo.IsValid() {
				fields = append(fields, Field{pseudoHeader, pseudo.String()})
				if id.Client.Is6() {
					fields = append(fields, Field{"X-Client-IPv6", client})
				}
			}
		}
	}
	return fields
}

// forwarded writes one element of RFC 7239 §4. An IPv6 address is in brackets
// and quoted (§6); a host may have a colon, so it is quoted too.
func (id Identity) forwarded() string {
	var b strings.Builder
	b.WriteString("for=")
	if id.Client.Is4() {
		b.WriteString(id.Client.String())
	} else {
		b.WriteString(`"[` + id.Client.String() + `]"`)
	}
	b.WriteString(";proto=" + id.Scheme)
	// ParseHost let the host through, so it has no byte that needs escaping.
	if id.Host != "" {
		b.WriteString(`;host="` + id.Host + `"`)
	}
	return b.String()
}
