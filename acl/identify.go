package acl

import (
	"net/netip"
	"strings"
)

// A Kind says what a text is read as.
type Kind string

// The kinds that Identify knows.
const (
	KindAddr     Kind = "addr"     // one address, RFC 5952 text; a link-local zone is kept
	KindMatch    Kind = "match"    // the key that rules compare: no zone
	KindPrefix   Kind = "prefix"   // a CIDR prefix, or one address as such
	KindRange    Kind = "range"    // FIRST-LAST
	KindHostPort Kind = "hostport" // HOST:PORT
	KindXFF      Kind = "xff"      // one element of X-Forwarded-For
	KindFwd      Kind = "fwd"      // one RFC 7239 "for", without its quotes
	KindEmbed    Kind = "embed"    // the IPv4 address inside: "mechanism:ipv4" or "none"
)

// Kinds returns all kinds, in the order they are documented.
func Kinds() []Kind {
	return []Kind{KindAddr, KindMatch, KindPrefix, KindRange, KindHostPort, KindXFF, KindFwd, KindEmbed}
}

// An Identity is what a text turned out to be.
type Identity struct {
	Kind      Kind
	Canonical string
	Family    string      // "ipv4", "ipv6", or "" for a name or a port alone
	Embedded  []Embedding // of a single address; nil if none
}

// Identify reads text as kind; the empty kind is guessed from the shape. Of
// env it uses NAT64 and SixRD. On error, which is a *ParseError or names an
// unknown kind, the Identity has only its Kind.
func Identify(kind Kind, text string, env Env) (Identity, error) {
	if kind == "" {
		kind = guess(text)
	}
	id, err := identify(kind, text)
	if err != nil {
		return Identity{Kind: kind}, err
	}
	out := Identity{Kind: kind, Canonical: id.canonical}
	if id.addr.IsValid() {
		out.Embedded = env.Embeddings(id.addr)
		out.Family = family(id.addr)
	}
	if id.first.IsValid() {
		out.Family = family(id.first)
	}
	if kind == KindEmbed {
		out.Canonical = "none"
		if out.Embedded != nil {
			out.Canonical = out.Embedded[0].String()
		}
	}
	return out, nil
}

// identified is canonical text and the one address it stands for, or the
// first of several.
type identified struct {
	canonical   string
	addr, first Addr
}

func identify(kind Kind, text string) (identified, error) {
	switch kind {
	case KindAddr:
		ip, err := parseZoned(text)
		if ip.Is4In6() {
			ip = ip.Unmap()
		}
		return identified{canonical: ip.String(), addr: AddrFrom(ip)}, err
	case KindMatch, KindEmbed:
		return single(ParseAddr(text))
	case KindXFF:
		return single(ParseXFF(text))
	case KindFwd:
		return single(ParseForwardedFor(text))
	case KindPrefix:
		p, err := ParsePrefix(text)
		id := identified{canonical: p.String(), first: Addr{p.p.Addr()}}
		if p.p.IsSingleIP() {
			id.addr = id.first
		}
		return id, err
	case KindRange:
		r, err := ParseRange(text)
		return identified{canonical: r.String(), first: r.First}, err
	case KindHostPort:
		hp, err := ParseHostPort(text)
		return identified{canonical: hp.String(), addr: hp.Addr}, err
	}
	return identified{}, fail(string(kind), "unknown kind; write addr, match, prefix, range, hostport, xff, fwd or embed")
}

func single(a Addr, err error) (identified, error) {
	return identified{canonical: a.String(), addr: a}, err
}

func family(a Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// guess picks the kind whose errors help most: the one that reads the text,
// else the one that its punctuation suggests.
func guess(text string) Kind {
	if strings.Contains(text, "/") {
		return KindPrefix
	}
	if _, err := ParseAddr(text); err == nil {
		return KindAddr
	}
	if first, _, ok := strings.Cut(text, "-"); ok {
		if _, err := ParseAddr(first); err == nil {
			return KindRange
		}
	}
	if _, err := ParseHostPort(text); err == nil {
		return KindHostPort
	}
	if strings.Contains(text, "]:") || strings.Count(text, ":") == 1 {
		return KindHostPort
	}
	if i := strings.LastIndexByte(text, ':'); i > 0 {
		if ip, err := netip.ParseAddr(text[:i]); err == nil && ip.Is6() {
			return KindHostPort
		}
	}
	return KindAddr
}
