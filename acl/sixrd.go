package acl

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// A SixRD is the arithmetic of a 6rd domain, as far as reading the embedded
// IPv4 address needs it (RFC 5969 §7.1). The zero SixRD embeds nothing.
type SixRD struct {
	Prefix      Prefix // the 6rd prefix
	IPv4MaskLen int    // high bits that all IPv4 addresses of the domain share, 0 to 32
	Common      Addr   // any address of the domain: it gives these bits
}

// ParseSixRD reads "PREFIX", "PREFIX,0" or "PREFIX,IPV4/MASKLEN", such as
// "2001:db8::/32,10.0.0.0/8".
func ParseSixRD(s string) (SixRD, error) {
	text, mask, _ := strings.Cut(s, ",")
	p, err := ParsePrefix(text)
	if err != nil {
		return SixRD{}, err
	}
	d := SixRD{Prefix: p}
	if n, ok := decimal(mask, 32); ok && n > 0 {
		return SixRD{}, fail(s, "%d shared bits of which value? write %q", n, text+",10.0.0.0/"+strconv.Itoa(n))
	} else if !ok && mask != "" {
		common, err := ParsePrefix(mask)
		if err != nil || !common.Is4() {
			return SixRD{}, fail(s, "what the IPv4 addresses share is an IPv4 prefix, such as %q", "10.0.0.0/8")
		}
		d.Common, d.IPv4MaskLen = Addr{common.p.Addr()}, common.p.Bits()
	}
	return d, d.validate(s)
}

func (d SixRD) validate(s string) error {
	if d.Prefix.Is4() || d.delegatedLen() > 128 || d.delegatedLen() < 1 {
		return fail(s, "a 6rd prefix is IPv6 and leaves room for %d bits of IPv4", 32-d.IPv4MaskLen)
	}
	return nil
}

// IsValid reports whether d is a 6rd domain at all.
func (d SixRD) IsValid() bool { return d.Prefix.IsValid() && d.validate("") == nil }

// delegatedLen is the length of a delegated prefix.
func (d SixRD) delegatedLen() int { return d.Prefix.p.Bits() + 32 - d.IPv4MaskLen }

// embedded reads the IPv4 address in a. None of the domain is 0.0.0.0: that is
// the 6rd prefix's own zero subnet.
func (d *SixRD) embedded(a Addr) (uint32, bool) {
	if !d.Prefix.Contains(a) || !d.IsValid() {
		return 0, false
	}
	v4 := uint32(shiftRight(a.ip.As16(), 128-d.delegatedLen()))
	if d.IPv4MaskLen > 0 {
		low := uint32(1<<(32-d.IPv4MaskLen) - 1)
		v4 = v4&low | d.common()&^low
	}
	return v4, v4 != 0
}

// common returns the address that gives the shared high bits, 0 without one.
func (d SixRD) common() uint32 {
	if !d.Common.Is4() {
		return 0
	}
	b := d.Common.ip.As4()
	return binary.BigEndian.Uint32(b[:])
}
