package acl

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// The parsers below are slow and obvious: the oracles of the fuzz targets.

var (
	slowOctet = `(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])`
	slow4     = regexp.MustCompile(`^` + slowOctet + `(?:\.` + slowOctet + `){3}$`)
	slowGroup = regexp.MustCompile(`^[0-9A-Fa-f]{1,4}$`)
	slowZone  = regexp.MustCompile(`^[A-Za-z0-9._~@-]{1,15}$`)
	slowXFF   = regexp.MustCompile(`^[ \t]*(?:([^:\[\]]+):(?:0|[1-9][0-9]{0,4})|(\[[^\]]*\])(?::(?:0|[1-9][0-9]{0,4}))?|([^\[\]]*))[ \t]*$`)
	slowFwd   = regexp.MustCompile(`^(?:([^:\[\]]+)|(\[[^\]]*\]))(?::([0-9]{1,5}|_[A-Za-z0-9._-]+))?$`)
	slowPort  = regexp.MustCompile(`^(?:0|[1-9][0-9]{0,4})$`)
)

// slowAddr returns the 16 bytes of an address in mapped form, and its zone.
func slowAddr(s string) (ip [16]byte, zone string, ok bool) {
	bracketed := len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']'
	if bracketed {
		s = s[1 : len(s)-1]
	}
	host, zone, zoned := strings.Cut(s, "%")
	if slow4.MatchString(host) {
		ip[10], ip[11] = 0xff, 0xff
		copy(ip[12:], slowBytes4(host))
		return ip, "", !bracketed && !zoned
	}
	ip, ok = slowAddr6(host)
	if zoned {
		ok = ok && ip[0] == 0xfe && ip[1]&0xc0 == 0x80 && slowZone.MatchString(zone)
	}
	return ip, zone, ok
}

func slowBytes4(s string) (b []byte) {
	for _, part := range strings.Split(s, ".") {
		n, _ := strconv.Atoi(part)
		b = append(b, byte(n))
	}
	return b
}

func slowAddr6(s string) (ip [16]byte, ok bool) {
	if i := strings.LastIndex(s, ":"); i >= 0 && slow4.MatchString(s[i+1:]) {
		b := slowBytes4(s[i+1:])
		s = s[:i+1] + strconv.FormatUint(uint64(b[0])<<8|uint64(b[1]), 16) + ":" + strconv.FormatUint(uint64(b[2])<<8|uint64(b[3]), 16)
	}
	halves := strings.Split(s, "::")
	var groups [2][]string
	for i, half := range halves {
		if i > 1 {
			return ip, false
		}
		if half != "" {
			groups[i] = strings.Split(half, ":")
		}
	}
	n := len(groups[0]) + len(groups[1])
	if len(halves) == 2 && n > 7 || len(halves) == 1 && n != 8 {
		return ip, false
	}
	for len(groups[0])+len(groups[1]) < 8 {
		groups[0] = append(groups[0], "0")
	}
	for i, g := range append(groups[0], groups[1]...) {
		if !slowGroup.MatchString(g) {
			return ip, false
		}
		v, _ := strconv.ParseUint(g, 16, 16)
		ip[2*i], ip[2*i+1] = byte(v>>8), byte(v)
	}
	return ip, true
}

func slowIs4(ip [16]byte) bool {
	return strings.HasPrefix(string(ip[:]), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff")
}

// slowPrefix returns the prefix in mapped form.
func slowPrefix(s string) (ip [16]byte, bits int, ok bool) {
	text, length, cidr := strings.Cut(s, "/")
	ip, zone, ok := slowAddr(text)
	if !ok || zone != "" {
		return ip, 0, false
	}
	if bits = 128; cidr {
		n, err := strconv.Atoi(length)
		if err != nil || strconv.Itoa(n) != length || n < 0 {
			return ip, 0, false
		}
		if bits = n; !strings.Contains(text, ":") {
			bits += 96
		}
	}
	if bits > 128 || slowIs4(ip) && bits < 96 {
		return ip, 0, false
	}
	for i := bits; i < 128; i++ {
		if ip[i/8]>>(7-i%8)&1 != 0 {
			return ip, 0, false
		}
	}
	return ip, bits, true
}

// slowContains compares bit by bit, and never across families.
func slowContains(p [16]byte, bits int, ip [16]byte) bool {
	if slowIs4(p) != slowIs4(ip) {
		return false
	}
	for i := range bits {
		if p[i/8]>>(7-i%8)&1 != ip[i/8]>>(7-i%8)&1 {
			return false
		}
	}
	return true
}

func slowNetip(ip [16]byte) netip.Addr { return netip.AddrFrom16(ip).Unmap() }

// slowElement reads an element of X-Forwarded-For or Forwarded.
func slowElement(kind Kind, s string) (ip [16]byte, ok bool) {
	if len(s) > maxElement {
		return ip, false
	}
	grammar := map[Kind]*regexp.Regexp{KindXFF: slowXFF, KindFwd: slowFwd}[kind]
	m := grammar.FindStringSubmatch(s)
	if m == nil {
		return ip, false
	}
	host := m[1] + m[2]
	if host == "" && kind == KindXFF {
		host = strings.Trim(m[3], " \t")
	}
	ip, zone, ok := slowAddr(host)
	port := s[strings.LastIndexAny(s, ":]")+1:]
	if n, err := strconv.Atoi(strings.Trim(port, " \t")); err == nil && n > 65535 && m[1]+m[2] != "" {
		return ip, false
	}
	return ip, ok && zone == ""
}
