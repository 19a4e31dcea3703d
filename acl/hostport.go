package acl

import (
	"net/netip"
	"strconv"
	"strings"
)

// A HostPort is where to listen or to connect: HOST:PORT.
//
// Exactly one of Addr and Name is set, or neither for ":80", which a listener
// takes as both families and a backend must refuse. The zero HostPort is no
// place.
type HostPort struct {
	Addr Addr
	Zone string // the interface of a link-local Addr; not for decisions
	Name string // a DNS name in lower case, without the final dot
	Port uint16 // 0 is legal text: a listener's "any free port"
}

// ParseHostPort reads 192.0.2.1:80, [2001:db8::1]:80, [fe80::1%eth0]:80,
// name.example:80 or :80. The port is required. An IPv6 address needs its
// brackets: without them, 2001:db8::1:443 reads as an address. A name that
// some resolver would take for a number (0x7f.1) is an error.
//
// The error is a *ParseError.
func ParseHostPort(s string) (HostPort, error) {
	if len(s) > 253+1+5 {
		return HostPort{}, fail(s, "too long for HOST:PORT")
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return HostPort{}, fail(s, "no port; write HOST:PORT, such as \"192.0.2.1:80\" or \"[2001:db8::1]:80\"")
	}
	host, text := s[:i], s[i+1:]
	port, ok := decimal(text, 65535)
	if !ok {
		return HostPort{}, fail(s, "the port %q is no number from 0 to 65535", clip(text))
	}
	hp := HostPort{Port: uint16(port)}
	switch {
	case host == "":
		return hp, nil
	case strings.HasPrefix(host, "["):
		return bracketHost(s, host, hp)
	case strings.Contains(host, ":"):
		return HostPort{}, unbracketed(s, host, text)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		hp.Addr = AddrFrom(ip)
		return hp, nil
	}
	name, err := hostName(s, host)
	hp.Name = name
	if err != nil {
		return HostPort{}, err
	}
	return hp, nil
}

// bracketHost reads "[v6]" or "[fe80::1%zone]". "%25" is always the "%" of a
// URI (RFC 6874 §2), so an interface called 25 has to be spelled "%2525".
func bracketHost(s, host string, hp HostPort) (HostPort, error) {
	if a, z, ok := strings.Cut(host, "%25"); ok {
		host = a + "%" + z
	}
	ip, err := parseZoned(host)
	if err != nil {
		return HostPort{}, fail(s, "%s", err.(*ParseError).Msg)
	}
	hp.Addr, hp.Zone = AddrFrom(ip), ip.Zone()
	return hp, nil
}

// unbracketed says how to spell an IPv6 address with a port, for both readings.
func unbracketed(s, host, port string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		return fail(s, "an IPv6 address needs brackets; write %q", "["+ip.String()+"]:"+port)
	}
	return fail(s, "an IPv6 address needs brackets; write \"[ADDRESS]:PORT\"")
}

// hostName checks a DNS name: letters, digits, "-" and "_" in labels of 1 to
// 63, 253 in all. The last label must not be a number, as then the name is an
// IPv4 address to inet_aton (WHATWG URL §3.5, "ends in a number").
func hostName(s, host string) (string, error) {
	if ip, odd := inetAton(host); odd != "" && ip.IsValid() {
		return "", fail(s, "%s", addrMistake(host, ""))
	}
	name := lowerASCII(strings.TrimSuffix(host, "."))
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, nameBytes) != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return "", fail(s, "%q is neither an address nor a DNS name", clip(host))
		}
	}
	last := labels[len(labels)-1]
	if _, _, ok := atonNumber(last); ok || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return "", fail(s, "%q is neither an address nor a DNS name", clip(host))
	}
	if len(name) > 253 {
		return "", fail(s, "a DNS name has at most 253 bytes")
	}
	return name, nil
}

// lowerASCII lowers A to Z and nothing else: strings.ToLower makes an "i" of
// U+0130 and a "k" of the Kelvin sign.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

const nameBytes = "abcdefghijklmnopqrstuvwxyz0123456789-_"

// String returns HOST:PORT with the canonical host.
func (h HostPort) String() string {
	port := ":" + strconv.Itoa(int(h.Port))
	switch {
	case h.Name != "":
		return h.Name + port
	case !h.Addr.IsValid():
		return port
	case h.Addr.Is4():
		return h.Addr.String() + port
	case strings.HasPrefix(h.Zone, "25"): // would read as an encoded "%"
		return "[" + h.Addr.String() + "%25" + h.Zone + "]" + port
	case h.Zone != "":
		return "[" + h.Addr.String() + "%" + h.Zone + "]" + port
	}
	return "[" + h.Addr.String() + "]" + port
}
