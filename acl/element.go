package acl

import (
	"cmp"
	"strings"
)

// ParseXFF reads one element of an X-Forwarded-For list: an address, with or
// without brackets and port, between optional white space (RFC 9110 §5.6.3).
// 2001:db8::1:51234 is an address: nobody can tell that it was meant with a
// port. A zone is an error, as another machine's interfaces mean nothing here.
//
// The error is a *ParseError.
func ParseXFF(s string) (Addr, error) {
	if len(s) > maxElement {
		return Addr{}, fail(s, "too long for an address")
	}
	text := strings.Trim(s, " \t")
	if text == "" {
		return Addr{}, fail(s, "empty element")
	}
	if strings.HasPrefix(text, "[") || strings.Count(text, ":") == 1 {
		return elementWithPort(s, text, isPort)
	}
	return elementAddr(s, text)
}

// ParseForwardedFor reads the value of one RFC 7239 "for", after removal of
// the quotes: an IPv4 address or an IPv6 address in brackets, each with an
// optional port (§6). "unknown" and "_hidden" are legal there but no address,
// hence errors.
//
// The error is a *ParseError.
func ParseForwardedFor(s string) (Addr, error) {
	switch {
	case len(s) > maxElement:
		return Addr{}, fail(s, "too long for an address")
	case s == "":
		return Addr{}, fail(s, "empty element")
	case strings.EqualFold(s, "unknown") || s[0] == '_':
		return Addr{}, fail(s, "the client is hidden on purpose (RFC 7239 §6.2, §6.3): no address")
	case s[0] != '[' && strings.Count(s, ":") > 1:
		return Addr{}, fail(s, "RFC 7239 §6 wants brackets around an IPv6 address")
	}
	if s[0] == '[' || strings.Contains(s, ":") {
		return elementWithPort(s, s, isNodePort)
	}
	return elementAddr(s, s)
}

// maxElement bounds one element: an address, a port and generous white space.
const maxElement = 128

// elementWithPort reads "v4:port", "[v6]" and "[v6]:port".
func elementWithPort(s, text string, isPort func(string) bool) (Addr, error) {
	host := text
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, ']') {
		if host = text[:i]; !isPort(text[i+1:]) {
			return Addr{}, fail(s, "the port %q is no number from 0 to 65535", clip(text[i+1:]))
		}
	}
	return elementAddr(s, host)
}

func isPort(s string) bool {
	_, ok := decimal(s, 65535)
	return ok
}

// isNodePort takes what RFC 7239 §6 does: one to five digits, where leading
// zeros say nothing, and "_name".
func isNodePort(s string) bool {
	if name, ok := strings.CutPrefix(s, "_"); ok {
		return name != "" && strings.Trim(name, portBytes) == ""
	}
	return isPort(s) || len(s) <= 5 && s != "" && isPort(cmp.Or(strings.TrimLeft(s, "0"), "0"))
}

const portBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

func elementAddr(s, text string) (Addr, error) {
	ip, err := parseZoned(text)
	switch {
	case err != nil:
		return Addr{}, fail(s, "%s", err.(*ParseError).Msg)
	case ip.Zone() != "":
		return Addr{}, fail(s, "a zone of another machine means nothing here")
	}
	return AddrFrom(ip), nil
}
