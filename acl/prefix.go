package acl

import (
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// A Prefix is a CIDR prefix in canonical form: no host bits, no zone, and
// ::ffff:192.0.2.0/120 is 192.0.2.0/24.
//
// The zero Prefix contains nothing.
type Prefix struct{ p netip.Prefix }

// ParsePrefix reads ADDRESS/LENGTH, or one address (a /32 or /128). Brackets
// around the IPv6 address, as in "[2001:db8::]/32", are optional. A zone, host
// bits, a netmask and a length under 96 on a mapped address are errors that
// show the right spelling.
//
// The error is a *ParseError.
func ParsePrefix(s string) (Prefix, error) {
	p, masked, err := parsePrefix(s)
	if err != nil {
		return Prefix{}, err
	}
	if masked {
		return Prefix{}, fail(s, "host bits set; write %q%s", p.String(), everybody(p))
	}
	return p, nil
}

// everybody warns where the corrected spelling matches a whole family.
func everybody(p Prefix) string {
	if p.p.Bits() == 0 {
		return " if everybody is meant"
	}
	return ""
}

// parsePrefix is ParsePrefix that masks host bits and reports that it did.
func parsePrefix(s string) (p Prefix, masked bool, err error) {
	text, length, cidr := strings.Cut(s, "/")
	if strings.Contains(text, "%") {
		return Prefix{}, false, fail(s, "a zone matches no client; write the address without %q", "%…")
	}
	ip, err := parseBefore(text, length)
	if err != nil {
		return Prefix{}, false, prefixMistake(s, text, length, err)
	}
	n := ip.BitLen()
	if cidr {
		if n, err = prefixLength(s, ip, length); err != nil {
			return Prefix{}, false, err
		}
	}
	full := netip.PrefixFrom(ip, n)
	p = PrefixFrom(full)
	if !p.IsValid() {
		// A length that IPv4 has was meant as one.
		p4 := PrefixFrom(netip.PrefixFrom(ip.Unmap(), min(n, 32)))
		return Prefix{}, false, fail(s, "a mapped prefix needs a length of 96 to 128; write %q%s", p4.String(), everybody(p4))
	}
	return p, full.Masked().Addr() != ip, nil
}

// prefixLength reads the text after the slash.
func prefixLength(s string, ip netip.Addr, text string) (int, error) {
	if n, ok := decimal(text, ip.BitLen()); ok {
		return n, nil
	}
	if mask, err := netip.ParseAddr(text); err == nil && mask.Is4() && ip.Is4() {
		if n, ok := maskLength(mask); ok {
			p := PrefixFrom(netip.PrefixFrom(ip, n))
			return 0, fail(s, "a netmask; write %q%s", p.String(), everybody(p))
		}
		if n, ok := maskLength(inverse(mask)); ok {
			return 0, fail(s, "a wildcard mask; write %q", PrefixFrom(netip.PrefixFrom(ip, n)).String())
		}
		return 0, fail(s, "a netmask with holes; write one prefix for each part")
	}
	if n, err := strconv.Atoi(strings.TrimLeft(text, "0")); err == nil && n > 0 && n <= ip.BitLen() && text[0] == '0' {
		return 0, fail(s, "leading zero in the length; write %q", ip.String()+"/"+strconv.Itoa(n))
	}
	return 0, fail(s, "the length is a number from 0 to %d", ip.BitLen())
}

// prefixMistake explains why the part before the slash is no address.
func prefixMistake(s, text, length string, err error) error {
	switch {
	case s == "":
		return fail(s, "empty; write a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\"")
	case strings.HasPrefix(s, "!"):
		return fail(s, "no negation; write a \"deny\" rule above")
	case s == "*" || s == "any":
		return fail(s, "not a prefix; everybody is \"0.0.0.0/0\" and \"::/0\" (in a rule: \"all\")")
	case text == "":
		return fail(s, "no address before the length; write a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\"")
	}
	if whole, ok := enclosed(s); ok {
		return fail(s, "the brackets are for the address alone; write %q", whole.String())
	}
	if hp, perr := ParseHostPort(s); perr == nil && hp.Addr.IsValid() {
		return fail(s, "a port means nothing here; write %q", hp.Addr.String())
	}
	if n, ok := decimal(length, 32); ok {
		if p, ok := classicShort(text, n); ok {
			return fail(s, "short form; write %q", p.String())
		}
	}
	if text == s {
		return networkMistake(s, err)
	}
	return fail(s, "%s", err.(*ParseError).Msg)
}

// enclosed reads "[2001:db8::/32]".
func enclosed(s string) (Prefix, bool) {
	inner, bracketed, err := unbracket(s)
	if err != nil || !bracketed {
		return Prefix{}, false
	}
	p, err := ParsePrefix(inner)
	return p, err == nil
}

// networkMistake explains "192.0.2", "192.0.2." and "192.0.2.*": in a list that
// is hardly the address 192.0.0.2, which inet_aton makes of the first.
func networkMistake(s string, err error) error {
	text := s
	for strings.HasSuffix(text, ".*") {
		text = strings.TrimSuffix(text, ".*")
	}
	text = strings.TrimSuffix(text, ".")
	p, ok := classicShort(text, 8*(strings.Count(text, ".")+1))
	switch {
	case !ok:
		return fail(s, "%s", err.(*ParseError).Msg)
	case text != s:
		return fail(s, "a network is written with its length; write %q", p.String())
	}
	ip, _ := inetAton(s)
	return fail(s, "short form; write %q for the network, or %q for the address that some programs read", p.String(), ip.String())
}

// classicShort reads "10/8" and "192.0.2/24", where the missing numbers are
// zero (not inet_aton's reading).
func classicShort(text string, n int) (Prefix, bool) {
	dots := strings.Count(text, ".")
	if dots > 2 || strings.Contains(text, ":") {
		return Prefix{}, false
	}
	ip, err := netip.ParseAddr(text + strings.Repeat(".0", 3-dots))
	if err != nil {
		return Prefix{}, false
	}
	return PrefixFrom(netip.PrefixFrom(ip, n)), true
}

// decimal reads digits without sign or leading zero, up to limit.
func decimal(s string, limit int) (int, bool) {
	if s == "" || len(s) > 5 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, n <= limit
}

// inverse has the bits that mask does not have.
func inverse(mask netip.Addr) netip.Addr {
	b := mask.As4()
	return netip.AddrFrom4([4]byte{^b[0], ^b[1], ^b[2], ^b[3]})
}

// maskLength returns the length of a netmask without holes.
func maskLength(mask netip.Addr) (int, bool) {
	b := mask.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := bits.LeadingZeros32(^v)
	return n, bits.OnesCount32(v) == n
}

// PrefixFrom returns the canonical form of p: unmapped, without host bits and
// zone. A p that is invalid, or that is spelled mapped with a length under 96
// (a straddle of IPv4 and IPv6), gives the zero Prefix.
func PrefixFrom(p netip.Prefix) Prefix {
	ip, n := p.Addr(), p.Bits()
	if ip.Is4In6() && p.IsValid() {
		if n < 96 {
			return Prefix{}
		}
		ip, n = ip.Unmap(), n-96
	}
	m, err := ip.WithZone("").Prefix(n)
	if err != nil {
		return Prefix{}
	}
	return Prefix{m}
}

// IsValid reports whether p is a prefix at all.
func (p Prefix) IsValid() bool { return p.p.IsValid() }

// Is4 reports whether p is an IPv4 prefix.
func (p Prefix) Is4() bool { return p.p.Addr().Is4() }

// Netip returns the prefix for use with routes and tables.
func (p Prefix) Netip() netip.Prefix { return p.p }

// Contains reports whether a is of p's family and inside p. ::/0 contains no
// IPv4 address, however it was spelled.
func (p Prefix) Contains(a Addr) bool { return p.p.Contains(a.ip) }

// Overlaps reports whether p and q have an address in common.
func (p Prefix) Overlaps(q Prefix) bool { return p.p.Overlaps(q.p) }

// String returns ADDRESS/LENGTH, or "invalid" for the zero Prefix.
func (p Prefix) String() string {
	if !p.IsValid() {
		return "invalid"
	}
	return p.p.String()
}

// MarshalText returns String, or nothing for the zero Prefix.
func (p Prefix) MarshalText() ([]byte, error) { return p.p.MarshalText() }
