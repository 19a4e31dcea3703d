package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"genkan/acl"
)

// A Listen is where clients come in, as written in "listen": the network, an
// address or the tunnel's, and one port or a range. The zero Listen is nowhere
// and is refused.
type Listen struct {
	Network string   // "tcp" or "udp"
	Tunnel  bool     // the tunnel's address, whatever it is
	Addr    acl.Addr // zero with Tunnel false: the wildcards of both families
	Zone    string   // of a link-local Addr
	Port    uint16
	PortEnd uint16 // last port of a range; Port when there is one only
}

// ParseListen reads one element of "listen": "tunnel:80", "[2001:db8::1]:80",
// "192.0.2.1:80", ":80" (two sockets, one a family), each also with a range
// "tunnel:5000-5009" and with "udp/" or "tcp/" in front.
func ParseListen(text string) (Listen, error) {
	l := Listen{Network: "tcp"}
	rest := text
	if network, after, ok := strings.Cut(text, "/"); ok {
		if network != "tcp" && network != "udp" {
			return Listen{}, fmt.Errorf("%q: unknown network %q; write \"tcp/\" or \"udp/\" before the address, or nothing for TCP", text, network)
		}
		l.Network, rest = network, after
	}
	at, last, err := parseHostPorts(rest)
	if err != nil {
		return Listen{}, fmt.Errorf("%q: %w", text, err)
	}
	l.Addr, l.Zone, l.Port, l.PortEnd = at.Addr, at.Zone, at.Port, last
	switch {
	case at.Name == "tunnel":
		l.Tunnel = true
	case at.Name != "":
		return Listen{}, fmt.Errorf("%q: %q is not an address; write \"tunnel\", an IPv4 address, an IPv6 address in brackets, or nothing for both families", text, at.Name)
	case at.Addr.Netip().IsMulticast():
		return Listen{}, fmt.Errorf("%q: %q is a multicast address; write one of this machine's own", text, at.Addr)
	case at.Addr.Is6() && at.Addr.Netip().IsLinkLocalUnicast() && at.Zone == "":
		return Listen{}, fmt.Errorf("%q: each interface has link-local addresses of its own; write which, as %q", text, fmt.Sprintf("[%s%%eth0]:%d", at.Addr, at.Port))
	}
	return l, nil
}

// parseHostPorts reads HOST:PORT or HOST:FIRST-LAST; last is at.Port where
// there is no range.
func parseHostPorts(text string) (at acl.HostPort, last uint16, err error) {
	single, end, isRange := text, "", false
	if colon := strings.LastIndexByte(text, ':'); colon >= 0 {
		if dash := strings.IndexByte(text[colon:], '-'); dash > 1 {
			single, end, isRange = text[:colon+dash], text[colon+dash+1:], true
		}
	}
	at, err = acl.ParseHostPort(single)
	if parse := (*acl.ParseError)(nil); errors.As(err, &parse) {
		return at, 0, errors.New(parse.Msg)
	}
	if err != nil || !isRange {
		return at, at.Port, err
	}
	n, err := strconv.ParseUint(end, 10, 16)
	switch {
	case err != nil:
		return at, 0, fmt.Errorf("port %q is not a number up to 65535", end)
	case at.Port == 0:
		return at, 0, errors.New("a port range does not begin with 0")
	case uint16(n) < at.Port:
		return at, 0, fmt.Errorf("port range runs backwards; write \"%d-%d\"", n, at.Port)
	case uint16(n)-at.Port >= maxRange:
		return at, 0, fmt.Errorf("port range has %d ports; at most %d are allowed", uint16(n)-at.Port+1, maxRange)
	}
	return at, uint16(n), nil
}

// maxRange bounds the ports of one range: each is a socket of its own.
const maxRange = 4096

// String gives the spelling that ParseListen reads.
func (l Listen) String() string {
	prefix := ""
	if l.Network == "udp" {
		prefix = "udp/"
	}
	host := ""
	switch {
	case l.Tunnel:
		host = "tunnel"
	case l.Addr.IsValid():
		host = l.Addr.String()
		if l.Zone != "" {
			host += "%" + l.Zone
		}
		if !l.Addr.Is4() {
			host = "[" + host + "]"
		}
	}
	return prefix + host + ":" + portsString(l.Port, l.PortEnd)
}

func portsString(first, last uint16) string {
	if last <= first {
		return strconv.Itoa(int(first))
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// addrs gives the addresses that l means: one, or the wildcards of both
// families. tunnel is the tunnel's address, zero without one.
func (l Listen) addrs(tunnel acl.Addr) ([]netip.Addr, error) {
	switch {
	case l.Tunnel && !tunnel.IsValid():
		return nil, fmt.Errorf("listen %q: there is no tunnel; write [tunnel] or another address", l)
	case l.Tunnel:
		return []netip.Addr{tunnel.Netip()}, nil
	case l.Addr.IsValid():
		return []netip.Addr{l.Addr.Netip().WithZone(l.Zone)}, nil
	}
	return []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()}, nil
}

// A Backend is where clients are taken: an IPv4 address or a name that has
// one, and one port or a range.
type Backend struct {
	Scheme  string   // of a site's: "" (HTTP/1.1), "https", "h2c" or "h2"
	Addr    acl.Addr // IPv4; zero when Name is set
	Name    string   // resolved to A records only
	Port    uint16
	PortEnd uint16 // last port of a range; Port when there is one only
}

// ParseBackend reads one element of "to": "10.0.0.10:8080",
// "app.internal:8080", "10.0.0.10:50000-50009", "https://10.0.0.10:8443".
// Backends are IPv4 only.
func ParseBackend(text string) (Backend, error) {
	scheme, rest, err := cutScheme(text)
	if err != nil {
		return Backend{}, err
	}
	at, last, err := parseHostPorts(rest)
	if err != nil {
		return Backend{}, fmt.Errorf("%q: %w", text, err)
	}
	switch {
	case at.Port == 0:
		return Backend{}, fmt.Errorf("%q: a backend has no port 0; write the port that it listens on", text)
	case at.Addr.Is6():
		return Backend{}, fmt.Errorf("%q: backends are IPv4 only; write the server's IPv4 address", text)
	case at.Name == "" && !at.Addr.IsValid():
		return Backend{}, fmt.Errorf("%q: address missing; write \"127.0.0.1%s\" for this machine", text, text)
	case at.Name == "tunnel":
		return Backend{}, fmt.Errorf("%q: the tunnel is where clients come from, not a backend; write the server's IPv4 address", text)
	}
	return Backend{Scheme: scheme, Addr: at.Addr, Name: at.Name, Port: at.Port, PortEnd: last}, nil
}

// String gives the spelling that ParseBackend reads.
func (b Backend) String() string {
	host := b.Name
	if host == "" {
		host = b.Addr.String()
	}
	at := net.JoinHostPort(host, portsString(b.Port, b.PortEnd))
	if b.Scheme != schemeHTTP {
		return b.Scheme + "://" + at
	}
	return at
}
