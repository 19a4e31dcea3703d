package acl

import (
	"net/netip"
	"strconv"
	"strings"
)

// addrMistake explains a text that netip refused as an address. It knows the
// spellings of inet_aton, which libc, browsers and half of the tools accept,
// each with its own reading (CVE-2021-29923, CVE-2021-28918). length is that of
// a prefix, "" without one.
func addrMistake(s, length string) string {
	if s == "" {
		return "no address"
	}
	if strings.Contains(s, ":") {
		return ipv6Mistake(s, length)
	}
	ip, odd := inetAton(s)
	switch {
	case odd == "" || !ip.IsValid():
		return "not an IP address; write one like \"192.0.2.1\" or \"2001:db8::1\""
	case odd == "octal":
		if dec := decimalReading(s); dec.IsValid() && dec != ip {
			return "a leading zero means octal to some programs; write " +
				strconv.Quote(spelled(dec, length)) + " (or " + strconv.Quote(spelled(ip, length)) + " if octal was meant)"
		}
		return "leading zeros; write " + strconv.Quote(spelled(ip, length))
	default:
		return odd + "; write " + strconv.Quote(spelled(ip, length))
	}
}

// spelled is ip in its one spelling, as a prefix where there is a length that
// makes one of it.
func spelled(ip netip.Addr, length string) string {
	if n, ok := decimal(length, ip.BitLen()); ok {
		if p := PrefixFrom(netip.PrefixFrom(ip, n)); p.IsValid() {
			return p.String()
		}
	}
	return AddrFrom(ip).String()
}

// ipv6Mistake explains a refused text that has a colon.
func ipv6Mistake(s, length string) string {
	i := strings.LastIndexByte(s, ':')
	if head, tail := s[:i+1], s[i+1:]; strings.ContainsAny(tail, ".xX") {
		if ip, odd := inetAton(tail); odd != "" && ip.IsValid() {
			if whole, err := netip.ParseAddr(head + ip.String()); err == nil {
				return "ambiguous IPv4 tail; write " + strconv.Quote(spelled(whole, length))
			}
		}
	}
	if ip, err := netip.ParseAddr(s[:max(i, 0)]); err == nil && ip.Is6() {
		if _, ok := decimal(s[i+1:], 65535); ok {
			return "not an IPv6 address; with a port, write " + strconv.Quote("["+ip.String()+"]"+s[i:])
		}
	}
	return "not an IPv6 address; write one like \"2001:db8::1\""
}

// inetAton reads s as BSD's inet_aton does: one to four numbers, decimal,
// octal (0…) or hex (0x…), the last filling the bytes that remain. odd names
// what makes the spelling ambiguous; it is empty if s is no such text.
func inetAton(s string) (ip netip.Addr, odd string) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, ""
	}
	var value uint64
	for i, part := range parts {
		n, form, ok := atonNumber(part)
		if !ok {
			return netip.Addr{}, ""
		}
		if form != "" {
			odd = form
		}
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if n >= 1<<bits {
			return netip.Addr{}, ""
		}
		value = value<<bits | n
	}
	if odd == "" && len(parts) < 4 {
		odd = "short form"
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), odd
}

// atonNumber reads one number of inet_aton; form is "octal", "hexadecimal" or
// empty.
func atonNumber(s string) (n uint64, form string, ok bool) {
	base := 10
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		s, base, form = s[2:], 16, "hexadecimal"
	case len(s) > 1 && s[0] == '0':
		s, base, form = s[1:], 8, "octal"
	}
	n, err := strconv.ParseUint(s, base, 32)
	return n, form, err == nil
}

// decimalReading reads a dotted quad whose leading zeros mean nothing.
func decimalReading(s string) netip.Addr {
	parts := strings.Split(s, ".")
	for i, part := range parts {
		if parts[i] = strings.TrimLeft(part, "0"); parts[i] == "" {
			parts[i] = "0"
		}
	}
	ip, err := netip.ParseAddr(strings.Join(parts, "."))
	if err != nil {
		return netip.Addr{}
	}
	return ip
}
