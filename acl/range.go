package acl

import (
	"net/netip"
	"strconv"
	"strings"
)

// A Range is all addresses of one family from First to Last, both included.
//
// The zero Range contains nothing.
type Range struct{ First, Last Addr }

// ParseRange reads FIRST-LAST without spaces. Both ends are of one family,
// after unmapping, have no zone, and are in order.
//
// The error is a *ParseError.
func ParseRange(s string) (Range, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return Range{}, fail(s, "a range is FIRST-LAST, such as \"192.0.2.1-192.0.2.9\"")
	}
	var ends [2]Addr
	for i, text := range []string{first, last} {
		ip, err := parseZoned(text)
		switch {
		case err != nil:
			return Range{}, rangeMistake(s, first, text, err)
		case ip.Zone() != "":
			return Range{}, fail(s, "a zone matches no client; write the addresses without %q", "%…")
		}
		ends[i] = AddrFrom(ip)
	}
	a, b := ends[0], ends[1]
	switch {
	case a.Is4() != b.Is4():
		return Range{}, fail(s, "one end is IPv4 (%s) and the other IPv6; write two ranges", either(a, b))
	case b.Compare(a) < 0:
		return Range{}, fail(s, "the ends are reversed; write %q", Range{b, a}.String())
	}
	return Range{a, b}, nil
}

// either returns the IPv4 end.
func either(a, b Addr) Addr {
	if a.Is4() {
		return a
	}
	return b
}

// rangeMistake explains a bad end; "192.0.2.1-9" and "2001:db8::1-ff" get their
// long spelling.
func rangeMistake(s, first, text string, err error) error {
	a, aerr := ParseAddr(first)
	if n, ok := decimal(text, 255); ok && text != first && aerr == nil && a.Is4() {
		b := a.ip.As4()
		b[3] = byte(n)
		return fail(s, "short form; write %q", Range{a, AddrFrom(netip.AddrFrom4(b))}.String())
	}
	if n, perr := strconv.ParseUint(text, 16, 16); perr == nil && text != first && aerr == nil && a.Is6() {
		b := a.ip.As16()
		b[14], b[15] = byte(n>>8), byte(n)
		return fail(s, "short form; write %q", Range{a, AddrFrom(netip.AddrFrom16(b))}.String())
	}
	if joined := strings.Join(strings.Fields(s), ""); joined != s {
		if r, perr := ParseRange(joined); perr == nil {
			return fail(s, "a range has no spaces; write %q", r.String())
		}
	}
	msg := err.(*ParseError).Msg
	if text == "" {
		return fail(s, "open end; a range is FIRST-LAST")
	}
	return fail(s, "the end %q: %s", clip(text), msg)
}

// RangeOf returns the range of p's addresses.
func RangeOf(p Prefix) Range {
	if !p.IsValid() {
		return Range{}
	}
	return Range{AddrFrom(p.p.Addr()), lastOf(p.p)}
}

// lastOf returns the last address of p.
func lastOf(p netip.Prefix) Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		setBits(b[:], p.Bits())
		return Addr{netip.AddrFrom4(b)}
	}
	b := p.Addr().As16()
	setBits(b[:], p.Bits())
	return Addr{netip.AddrFrom16(b)}
}

// setBits sets all bits of b from the bit n on.
func setBits(b []byte, n int) {
	for i := range b {
		switch {
		case n <= 8*i:
			b[i] = 0xff
		case n < 8*i+8:
			b[i] |= 0xff >> (n - 8*i)
		}
	}
}

// IsValid reports whether r has any address.
func (r Range) IsValid() bool { return r.First.IsValid() && r.Last.IsValid() }

// Is4 reports whether r is of IPv4 addresses.
func (r Range) Is4() bool { return r.First.Is4() }

// Contains reports whether a is of r's family and inside r.
func (r Range) Contains(a Addr) bool {
	return a.IsValid() && a.Is4() == r.Is4() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// String returns FIRST-LAST, or "invalid" for the zero Range.
func (r Range) String() string {
	if !r.IsValid() {
		return "invalid"
	}
	return r.First.String() + "-" + r.Last.String()
}

// ParseEntry reads what a list holds: a prefix, an address or a range. Host
// bits are an error, as in ParsePrefix.
func ParseEntry(s string) (Range, error) {
	r, masked, err := ParseFileEntry(s)
	if err == nil && masked {
		_, err = ParsePrefix(s) // says the right spelling
	}
	return r, err
}

// ParseFileEntry is ParseEntry for list files, which others write: host bits
// are masked, and reported.
func ParseFileEntry(s string) (r Range, masked bool, err error) {
	if strings.Contains(s, "-") {
		r, err = ParseRange(s)
		return r, false, err
	}
	p, masked, err := parsePrefix(s)
	return RangeOf(p), masked, err
}

// Short returns the prefix or address that r is, if it is one, else FIRST-LAST.
func (r Range) Short() string {
	if r.First == r.Last {
		return r.First.String()
	}
	for n := range r.First.ip.BitLen() {
		if p, err := r.First.ip.Prefix(n); err == nil && p.Addr() == r.First.ip && lastOf(p) == r.Last {
			return p.String()
		}
	}
	return r.String()
}
