package message

import (
	"fmt"
	"strconv"
	"strings"

	"genkan/acl"
)

// An Authority is the host and port that a request names, in canonical form:
// a name is in lower case without a dot at its end, an address literal is
// written as RFC 5952 says, a port is a decimal number.
// The zero Authority is none, which only HTTP/1.0 may send.
type Authority struct {
	// Text is "host" or "host:port", as it goes into the backend's Host.
	Text string
	// Host is the name, or the address without brackets: the key of routing.
	Host string
	// Port is 0 where none was written.
	Port uint16
}

// Name is Text without the port.
func (a Authority) Name() string {
	if a.Port == 0 {
		return a.Text
	}
	return a.Text[:strings.LastIndexByte(a.Text, ':')]
}

// ParseAuthority reads the value of Host or :authority (RFC 9110 §7.2).
// Userinfo, lists, percent-encoding, zones and unusual spellings of IPv4
// addresses are refused, as servers behind us disagree about them.
func ParseAuthority(s string) (Authority, error) {
	if a, ok := plainName(s); ok {
		return a, nil
	}
	host, port, err := splitPort(s)
	if err != nil {
		return Authority{}, err
	}
	var a Authority
	switch {
	case strings.HasPrefix(host, "["):
		ip, err := acl.ParseAddr(host)
		if err != nil || !ip.Is6() || strings.Contains(host, "%") {
			return Authority{}, fmt.Errorf("host %q: want an IPv6 address without zone in the brackets", clip(s))
		}
		a.Host, a.Text = ip.String(), "["+ip.String()+"]"
	case looksNumeric(host):
		ip, err := acl.ParseAddr(strings.TrimSuffix(host, "."))
		if err != nil || !ip.Is4() {
			return Authority{}, fmt.Errorf("host %q: write an IPv4 address as four decimal numbers", clip(s))
		}
		a.Host, a.Text = ip.String(), ip.String()
	default:
		name, err := canonicalName(host)
		if err != nil {
			return Authority{}, err
		}
		a.Host, a.Text = name, name
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || len(port) > 5 {
			return Authority{}, fmt.Errorf("host %q: port: want 1 to 65535", clip(s))
		}
		a.Port = uint16(n)
		a.Text += ":" + strconv.FormatUint(n, 10)
	}
	return a, nil
}

// plainName is the short way for what nearly all requests say: a name in
// lower case whose last label begins with a letter, and no port.
func plainName(s string) (Authority, bool) {
	label, last := 0, byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			if label++; label == 1 {
				last = c
			}
			if label > 63 {
				return Authority{}, false
			}
		case c == '.':
			if label == 0 {
				return Authority{}, false
			}
			label = 0
		default:
			return Authority{}, false
		}
	}
	if label == 0 || len(s) > 253 || last < 'a' {
		return Authority{}, false
	}
	return Authority{Text: s, Host: s}, true
}

// splitPort cuts the port off. A colon without digits behind it is legal
// (RFC 3986 §3.2.3) and says nothing.
func splitPort(s string) (host, port string, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || end+1 < len(s) && s[end+1] != ':' {
			return "", "", fmt.Errorf("host %q: want \"[address]\" or \"[address]:port\"", clip(s))
		}
		host, port = s[:end+1], strings.TrimPrefix(s[end+1:], ":")
	} else {
		host, port, _ = strings.Cut(s, ":")
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return "", "", fmt.Errorf("host %q: port: want digits", clip(s))
		}
	}
	return host, port, nil
}

// looksNumeric reports whether the last label is a number, decimal or hex:
// then inet_aton would read the whole as an IPv4 address, so it has to be one.
func looksNumeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if len(last) >= 2 && last[0] == '0' && lower(last[1]) == 'x' {
		last = last[2:]
		return strings.Trim(last, "0123456789abcdefABCDEF") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// canonicalName checks a registered name and makes it lower case.
func canonicalName(host string) (string, error) {
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return "", fmt.Errorf("host %q: want a name of 1 to 253 bytes", clip(host))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("host %q: want labels of 1 to 63 bytes", clip(host))
		}
	}
	out := make([]byte, len(name))
	for i := range len(name) {
		c := lower(name[i])
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return "", fmt.Errorf("host %q: %q is not a byte of a host name", clip(host), name[i:i+1])
		}
		out[i] = c
	}
	return string(out), nil
}
