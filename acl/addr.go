package acl

import (
	"net/netip"
	"strings"
)

// maxAddrText bounds the text of one address: the longest spelling of an IPv6
// address is 45 bytes (RFC 4291 §2.2), brackets 2, "%" and a Linux interface
// name (IFNAMSIZ) 16.
const maxAddrText = 64

// An Addr is an address in canonical form: IPv4 is never spelled as
// IPv4-mapped IPv6 (RFC 4291 §2.5.5.2), and there is no zone.
//
// The zero Addr is no address at all, distinct from 0.0.0.0 and ::; every
// Policy denies it. Addrs are comparable with == and usable as map keys.
type Addr struct{ ip netip.Addr }

// ParseAddr reads one address. Brackets around an IPv6 address are optional.
// A zone is accepted on fe80::/10 only, and stripped. Spellings that other
// programs read differently (leading zeros, hex, fewer than four numbers) are
// errors that show the right spelling.
//
// The error is a *ParseError.
func ParseAddr(s string) (Addr, error) {
	ip, err := parseZoned(s)
	if err != nil {
		return Addr{}, err
	}
	return AddrFrom(ip), nil
}

// AddrFrom returns the canonical form of ip: unmapped, without zone. The zero
// netip.Addr gives the zero Addr.
//
// A socket of its own family gives addresses that need no unmapping; one that
// does (a mapped source on an IPv6-only socket) is hostile: see IsMapped.
func AddrFrom(ip netip.Addr) Addr { return Addr{ip.WithZone("").Unmap()} }

// IsMapped reports whether ip is spelled ::ffff:a.b.c.d. An IPV6_V6ONLY socket
// that reports such a peer has received a forged packet (RFC 4942 §2.2); the
// caller refuses it before it makes an Addr of it.
func IsMapped(ip netip.Addr) bool { return ip.Is4In6() }

// IsValid reports whether a is an address at all.
func (a Addr) IsValid() bool { return a.ip.IsValid() }

// Is4 reports whether a is an IPv4 address.
func (a Addr) Is4() bool { return a.ip.Is4() }

// Is6 reports whether a is an IPv6 address.
func (a Addr) Is6() bool { return a.ip.Is6() }

// Netip returns the address for use with sockets.
func (a Addr) Netip() netip.Addr { return a.ip }

// Compare orders addresses: the zero Addr, IPv4, IPv6, each numerically.
func (a Addr) Compare(b Addr) int { return a.ip.Compare(b.ip) }

// String returns RFC 5952 text, or "invalid" for the zero Addr.
func (a Addr) String() string {
	if !a.IsValid() {
		return "invalid"
	}
	return a.ip.String()
}

// MarshalText returns String, or nothing for the zero Addr.
func (a Addr) MarshalText() ([]byte, error) { return a.ip.MarshalText() }

// UnmarshalText is ParseAddr, and takes nothing for the zero Addr.
func (a *Addr) UnmarshalText(text []byte) (err error) {
	*a = Addr{}
	if len(text) > 0 {
		*a, err = ParseAddr(string(text))
	}
	return err
}

// parseZoned reads an address strictly and keeps the zone of a link-local one.
// The result may be spelled mapped.
func parseZoned(s string) (netip.Addr, error) { return parseBefore(s, "") }

// parseBefore is parseZoned for what stands before a "/" and a length, which
// the spelling that an error shows keeps.
func parseBefore(s, length string) (netip.Addr, error) {
	switch {
	case s == "":
		return netip.Addr{}, fail(s, "empty; write an address such as \"192.0.2.1\" or \"2001:db8::1\"")
	case len(s) > maxAddrText:
		return netip.Addr{}, fail(s, "too long for an address")
	}
	text, bracketed, err := unbracket(s)
	if err != nil {
		return netip.Addr{}, err
	}
	host, zone, zoned := strings.Cut(text, "%")
	ip, perr := netip.ParseAddr(host)
	switch {
	case perr != nil:
		return netip.Addr{}, fail(s, "%s", addrMistake(host, length))
	case bracketed && ip.Is4():
		return netip.Addr{}, fail(s, "brackets are for IPv6; write %q", spelled(ip, length))
	case !zoned:
		return ip, nil
	}
	return withZone(s, ip, zone)
}

// withZone attaches a zone where one has a meaning: on fe80::/10 (RFC 4007
// §6). On any other address it would only serve to miss every prefix.
func withZone(s string, ip netip.Addr, zone string) (netip.Addr, error) {
	switch {
	case !ip.IsLinkLocalUnicast() || ip.Unmap().Is4():
		return netip.Addr{}, fail(s, "only a link-local address (fe80::/10) has a zone; write %q", AddrFrom(ip).String())
	case zone == "":
		return netip.Addr{}, fail(s, "empty zone; write %q or name the interface", ip.String())
	case len(zone) > 15 || strings.Trim(zone, zoneBytes) != "":
		return netip.Addr{}, fail(s, "the zone %q is no interface name", clip(zone))
	}
	return ip.WithZone(zone), nil
}

// zoneBytes may stand in a zone: the unreserved characters of RFC 6874 §2, and
// "@" of stacked interfaces.
const zoneBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-@"

// unbracket removes one pair of brackets that encloses all of s.
func unbracket(s string) (text string, bracketed bool, err error) {
	if !strings.HasPrefix(s, "[") {
		return s, false, nil
	}
	text, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", false, fail(s, "\"[\" without \"]\" at the end")
	}
	return text, true, nil
}
