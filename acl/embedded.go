package acl

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// An Embedding is an IPv4 address inside an IPv6 address. An IPv4-mapped
// address embeds nothing: it is IPv4.
type Embedding struct {
	Mechanism Mechanism `json:"mechanism"`
	IPv4      Addr      `json:"ipv4"`
}

// String returns "mechanism:ipv4".
func (e Embedding) String() string { return e.Mechanism.String() + ":" + e.IPv4.String() }

// A Mechanism is a way to put an IPv4 address into an IPv6 one. The zero
// Mechanism is none.
type Mechanism uint8

// The mechanisms that deny rules look into.
const (
	NAT64      Mechanism = iota + 1 // RFC 6052: 64:ff9b::/96 and the operator's prefixes
	NAT64Local                      // RFC 8215: 64:ff9b:1::/48, read as an RFC 6052 /48
	SixToFour                       // RFC 3056: 2002::/16
	Teredo                          // RFC 4380: 2001::/32, the client, not the server
	SIIT                            // RFC 2765 §2.1: ::ffff:0:a.b.c.d
	Compat                          // RFC 4291 §2.5.5.1: ::a.b.c.d, but neither :: nor ::1
	SixRDomain                      // RFC 5969: the domain of the Env
	ISATAP                          // RFC 5214 §6.1: an interface identifier [02]00:5efe:a.b.c.d
)

// String returns the name that rules and the address subcommand use.
func (m Mechanism) String() string {
	switch m {
	case NAT64:
		return "nat64"
	case NAT64Local:
		return "nat64-local"
	case SixToFour:
		return "6to4"
	case Teredo:
		return "teredo"
	case SIIT:
		return "siit"
	case Compat:
		return "compat"
	case SixRDomain:
		return "6rd"
	case ISATAP:
		return "isatap"
	}
	return "none"
}

// MarshalText returns String.
func (m Mechanism) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Embeddings returns every IPv4 address inside a, the more specific prefix
// first. An IPv4 address has none.
func (env Env) Embeddings(a Addr) []Embedding {
	var buf embeddings
	(&insides{env.NAT64, env.SixRD}).of(a, &buf)
	var out []Embedding
	for _, in := range buf.at[:buf.n] {
		out = append(out, Embedding{in.by, addr4(in.v4)})
	}
	return out
}

// Denies reports whether a deny rule of r alone would take a: r has a, or the
// IPv4 address inside it where deny rules look there.
func (env Env) Denies(r Range, a Addr) bool {
	if r.Contains(a) || env.Embedded == EmbeddedOff || r == all4 {
		return r.Contains(a)
	}
	return slices.ContainsFunc(env.Embeddings(a), func(e Embedding) bool { return r.Contains(e.IPv4) })
}

// embeddings is what of fills without allocating. One address can be of the
// operator's NAT64, of a well-known prefix, of the 6rd domain and ISATAP at
// once, not more.
type embeddings struct {
	at [4]inside
	n  int
}

type inside struct {
	by Mechanism
	v4 uint32
}

func (b *embeddings) add(by Mechanism, v4 uint32) {
	b.at[b.n] = inside{by, v4}
	b.n++
}

// insides knows the prefixes whose addresses have an IPv4 address inside,
// besides the well-known ones.
type insides struct {
	nat64 []Prefix
	sixrd SixRD
}

// of appends the embeddings of a to buf.
func (in *insides) of(a Addr, buf *embeddings) {
	if !a.Is6() {
		return
	}
	ip := a.ip.As16()
	longest := 0
	for _, p := range in.nat64 {
		if n := p.p.Bits(); n > longest && nat64Length(n) && p.Contains(a) {
			longest = n
		}
	}
	if longest > 0 {
		buf.add(NAT64, rfc6052(ip, longest))
	}
	wellKnown(ip, buf)
	if v4, ok := in.sixrd.embedded(a); ok {
		buf.add(SixRDomain, v4)
	}
	// RFC 5214 §6.1: the u bit tells a global IPv4 address from a private one.
	if ip[8]&^0x02 == 0 && ip[9] == 0 && ip[10] == 0x5e && ip[11] == 0xfe {
		buf.add(ISATAP, binary.BigEndian.Uint32(ip[12:]))
	}
}

// wellKnown appends what the prefixes of the RFCs embed; they are disjoint.
func wellKnown(ip [16]byte, buf *embeddings) {
	hi, mid := binary.BigEndian.Uint64(ip[:8]), binary.BigEndian.Uint32(ip[8:12])
	tail := binary.BigEndian.Uint32(ip[12:])
	switch {
	case hi>>48 == 0x2002:
		buf.add(SixToFour, uint32(hi>>16))
	case hi>>32 == 0x2001_0000:
		buf.add(Teredo, ^tail) // RFC 4380 §4: each bit of the client is inverted
	case hi == 0x0064_ff9b_0000_0000 && mid == 0:
		buf.add(NAT64, tail)
	case hi == 0x0064_ff9b_0001_0000 && mid == 0:
		// RFC 8215 leaves the length to the operator. With nothing but the
		// tail, a /48 would embed 0.0.0.0: this is the /96 that most take.
		buf.add(NAT64Local, tail)
	case hi>>16 == 0x0064_ff9b_0001:
		buf.add(NAT64Local, rfc6052(ip, 48))
	case hi == 0 && mid == 0xffff_0000:
		buf.add(SIIT, tail)
	case hi == 0 && mid == 0 && tail > 1:
		buf.add(Compat, tail)
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
