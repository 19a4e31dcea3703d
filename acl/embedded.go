package acl

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// An Embedding is an IPv4 address inside an IPv6 address.
//
// Mechanism is one of
//
//	nat64        RFC 6052: 64:ff9b::/96 and the operator's prefixes
//	nat64-local  RFC 8215: 64:ff9b:1::/48, read as an RFC 6052 /48
//	6to4         RFC 3056: 2002::/16
//	teredo       RFC 4380: 2001::/32, the client, not the server
//	siit         RFC 2765: ::ffff:0:a.b.c.d
//	compat       RFC 4291 §2.5.5.1: ::a.b.c.d, but neither :: nor ::1
//	6rd          RFC 5969: the domain of the Env
//	isatap       RFC 5214: an interface identifier [02]00:5efe:a.b.c.d
//
// An IPv4-mapped address embeds nothing: it is IPv4.
type Embedding struct {
	Mechanism string `json:"mechanism"`
	IPv4      Addr   `json:"ipv4"`
}

// String returns "mechanism:ipv4".
func (e Embedding) String() string { return e.Mechanism + ":" + e.IPv4.String() }

// Embeddings returns every IPv4 address inside a, the more specific prefix
// first. An IPv4 address has none.
func (env Env) Embeddings(a Addr) []Embedding {
	var buf embeddings
	insides{env.NAT64, env.SixRD}.of(a, &buf)
	return append([]Embedding(nil), buf.at[:buf.n]...)
}

// embeddings is what of fills without allocating. One address can be of the
// operator's NAT64, of a well-known prefix, of the 6rd domain and ISATAP at
// once, not more.
type embeddings struct {
	at [4]Embedding
	n  int
}

func (b *embeddings) add(mechanism string, v4 uint32) {
	if b.n < len(b.at) {
		b.at[b.n] = Embedding{mechanism, addr4(v4)}
		b.n++
	}
}

// insides knows the prefixes whose addresses have an IPv4 address inside,
// besides the well-known ones.
type insides struct {
	nat64 []Prefix
	sixrd SixRD
}

// of appends the embeddings of a to buf.
func (in insides) of(a Addr, buf *embeddings) {
	if !a.Is6() {
		return
	}
	ip := a.ip.As16()
	for _, p := range in.nat64 {
		if p.Contains(a) && nat64Length(p.p.Bits()) {
			buf.add("nat64", rfc6052(ip, p.p.Bits()))
			break
		}
	}
	wellKnown(ip, buf)
	if v4, ok := in.sixrd.embedded(a); ok {
		buf.add("6rd", v4)
	}
	// RFC 5214 §6.1: the u bit tells a global IPv4 address from a private one.
	if ip[8]&^0x02 == 0 && ip[9] == 0 && ip[10] == 0x5e && ip[11] == 0xfe {
		buf.add("isatap", binary.BigEndian.Uint32(ip[12:]))
	}
}

// wellKnown appends what the prefixes of the RFCs embed; they are disjoint.
func wellKnown(ip [16]byte, buf *embeddings) {
	hi, mid := binary.BigEndian.Uint64(ip[:8]), binary.BigEndian.Uint32(ip[8:12])
	tail := binary.BigEndian.Uint32(ip[12:])
	switch {
	case hi>>48 == 0x2002:
		buf.add("6to4", uint32(hi>>16))
	case hi>>32 == 0x2001_0000:
		buf.add("teredo", ^tail) // RFC 4380 §4: each bit of the client is inverted
	case hi == 0x0064_ff9b_0000_0000 && mid == 0:
		buf.add("nat64", tail)
	case hi>>16 == 0x0064_ff9b_0001:
		buf.add("nat64-local", rfc6052(ip, 48))
	case hi == 0 && mid == 0xffff_0000:
		buf.add("siit", tail)
	case hi == 0 && mid == 0 && tail > 1:
		buf.add("compat", tail)
	}
}

// rfc6052 reads the IPv4 address behind a NAT64 prefix of n bits. RFC 6052
// §2.3: it follows the prefix and steps over bits 64 to 71, which the
// translator removes unread; what follows is no part of it.
func rfc6052(ip [16]byte, n int) uint32 {
	var v uint32
	for i, at := 0, n/8; i < 4; at++ {
		if at == 8 {
			continue
		}
		v = v<<8 | uint32(ip[at])
		i++
	}
	return v
}

// nat64Length reports whether RFC 6052 §2.2 knows prefixes of n bits.
func nat64Length(n int) bool {
	switch n {
	case 32, 40, 48, 56, 64, 96:
		return true
	}
	return false
}

// ParseNAT64 reads an operator's NAT64 prefix: IPv6, of a length that RFC 6052
// §2.2 knows.
func ParseNAT64(s string) (Prefix, error) {
	p, err := ParsePrefix(s)
	switch {
	case err != nil:
		return Prefix{}, err
	case p.Is4() || !nat64Length(p.p.Bits()):
		return Prefix{}, fail(s, "a NAT64 prefix is IPv6 of length 32, 40, 48, 56, 64 or 96 (RFC 6052 §2.2)")
	case p.p.Addr().As16()[8] != 0:
		return Prefix{}, fail(s, "bits 64 to 71 of a NAT64 prefix are zero (RFC 6052 §2.2)")
	}
	return p, nil
}

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
func (d SixRD) embedded(a Addr) (uint32, bool) {
	if !d.IsValid() || !d.Prefix.Contains(a) {
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

// shiftRight returns the low 64 bits of ip >> n.
func shiftRight(ip [16]byte, n int) uint64 {
	hi, lo := binary.BigEndian.Uint64(ip[:8]), binary.BigEndian.Uint64(ip[8:])
	if n >= 64 {
		return hi >> (n - 64)
	}
	return lo>>n | hi<<(64-n)
}

// addr4 returns the IPv4 address with the value v.
func addr4(v uint32) Addr {
	return Addr{netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})}
}
