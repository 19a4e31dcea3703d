package ingress

import (
	"encoding/binary"
	"net/netip"

	"genkan/tunnel/sixrd"
)

// martian4 is what no unicast packet comes from (RFC 4213 §3.6 and §4,
// RFC 1122 §3.2.1.3, RFC 1112 §4): "this network", loopback, multicast, class E
// and the limited broadcast.
var martian4 = prefixes("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")

// nonPublic4 is what an address that claims to have crossed the IPv4 Internet
// cannot embed (RFC 6890; RFC 3964 §5.3 for 6to4, RFC 6052 §3.1 for NAT64).
// The documentation prefixes are not in it: laboratories play the Internet
// with them.
var nonPublic4 = prefixes("0.0.0.0/8", "10.0.0.0/8",
	"100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3")

// nonGlobal6 is everything outside of 2000::/3, the one global unicast range
// that has been allocated (RFC 4291 §2.4, IANA): ::, ::1, IPv4-mapped and
// IPv4-compatible, unique local, link-local, site-local, multicast.
var nonGlobal6 = prefixes("::/3", "4000::/2", "8000::/1")

var (
	sixToFour = netip.MustParsePrefix("2002::/16")    // RFC 3056
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 §2.1
	ula       = netip.MustParsePrefix("fc00::/7")     // RFC 4193
)

// buildRules returns the table of a configuration and the index of the first
// rule that looks inside.
func buildRules(cfg Config, own []Pattern) (rules []Rule, inner int) {
	local := []Pattern{v4(cfg.Local)}
	sources := patterns4(martian4)
	for _, b := range cfg.Broadcasts {
		sources = append(sources, v4(b))
	}
	rules = []Rule{
		{Reason: OuterDestination, Field: OuterDst, Except: local, In: anything},
		{Reason: OuterMartian, Field: OuterSrc, In: sources},
		{Reason: OuterSelf, Field: OuterSrc, In: local},
	}
	if cfg.Kind == Configured {
		rules = append(rules, Rule{Reason: NotRelay, Field: OuterSrc, In: anything, Except: []Pattern{v4(cfg.Remote)}})
	}
	inner = len(rules)
	rules = append(rules, martianRules(cfg, own)...)
	switch cfg.Kind {
	case Edge:
		rules = append(rules, edgeRules(cfg, own)...)
	case Relay:
		rules = append(rules, relayRules(cfg)...)
	case Configured:
		rules = append(rules,
			Rule{Reason: Land, Field: InnerSrc, In: anything, When: SameAddress},
			Rule{Reason: Loop, Field: InnerDst, In: endpoints(cfg)},
			Rule{Reason: NotMine, Field: InnerDst, In: anything, Except: own},
			Rule{Reason: OwnSource, Field: InnerSrc, In: append(disguises(cfg.Local), own...)},
		)
	}
	return rules, inner
}

// martianRules are the checks that every kind makes on both inner addresses.
func martianRules(cfg Config, own []Pattern) []Rule {
	except := append([]Pattern{v6(nat64)}, own...)
	var everybody []netip.Prefix // an answer to whom would be one from a whole network (RFC 3964 §5.3)
	for _, b := range cfg.Broadcasts {
		everybody = append(everybody, netip.PrefixFrom(b, 32))
	}
	embedding := append(embed(sixToFour, append(everybody, nonPublic4...)), embed(nat64, nonPublic4)...)
	if cfg.Kind != Configured {
		except = append(except, v6(cfg.Domain.Prefix))
		embedding = append(embedding, embed6rd(cfg.Domain, append(everybody, martian4...))...)
	}
	if cfg.AllowULA {
		except = append(except, v6(ula))
	}
	outside := patterns6(nonGlobal6)
	return []Rule{
		{Reason: InnerMartian, Field: InnerSrc, In: outside, Except: except},
		{Reason: InnerMartian, Field: InnerSrc, In: embedding},
		{Reason: InnerMartianDst, Field: InnerDst, In: outside, Except: except},
		{Reason: InnerMartianDst, Field: InnerDst, In: embedding},
	}
}

// edgeRules are the checks of a customer edge (RFC 5969 §9.2, §12).
func edgeRules(cfg Config, own []Pattern) []Rule {
	domain := []Pattern{v6(cfg.Domain.Prefix)}
	var relays []Pattern
	for _, r := range cfg.Domain.Relays {
		relays = append(relays, v4(r))
	}
	return []Rule{
		{Reason: Land, Field: InnerSrc, In: anything, When: SameAddress},
		{Reason: Loop, Field: InnerDst, In: endpoints(cfg)},
		{Reason: NotMine, Field: InnerDst, In: anything, Except: own},
		{Reason: OwnSource, Field: InnerSrc, In: append(disguises(cfg.Local), own...)},
		// A relay may hairpin what one edge sends to another: RFC 5969 §12 has
		// an edge accept whatever a relay of its own sends.
		{Reason: SrcSpoof, Field: InnerSrc, In: domain, Trusted: relays, When: NotEmbedded},
		{Reason: NotRelay, Field: InnerSrc, In: anything, Except: domain, Trusted: relays},
	}
}

// relayRules are the checks of a border relay: every source embeds the outer
// one, and nothing is for a relay (RFC 6324 §3) but what is for the one address
// of its prefix that RFC 5969 §12 leaves it, the Subnet-Router anycast address.
// An edge may send to itself through the relay, which is how it probes it (RFC
// 5969 §8); so there is no check for land here.
func relayRules(cfg Config) []Rule {
	domain := []Pattern{v6(cfg.Domain.Prefix)}
	rules := []Rule{
		{Reason: Loop, Field: InnerDst, In: endpoints(cfg), Except: anycast(cfg)},
		{Reason: SrcSpoof, Field: InnerSrc, In: domain, When: NotEmbedded},
		{Reason: NotRelay, Field: InnerSrc, In: anything, Except: domain},
	}
	if cfg.NoHairpin {
		rules = append(rules, Rule{Reason: NotMine, Field: InnerDst, In: domain, Except: anycast(cfg), When: NotEmbedded})
	}
	return rules
}

// anycast is a relay's own Subnet-Router anycast address (RFC 4291 §2.6.1).
func anycast(cfg Config) []Pattern {
	p, err := cfg.Domain.Delegated(cfg.Local)
	if err != nil { // no 6rd address embeds ours
		return nil
	}
	return []Pattern{v6(netip.PrefixFrom(p.Addr(), 128))}
}

// endpoints are the inner destinations that embed a tunnel endpoint: routed
// there, a packet would come round again (RFC 6324 §3).
func endpoints(cfg Config) []Pattern {
	ps := disguises(cfg.Local)
	if cfg.Kind == Configured {
		return ps
	}
	ends := append([]netip.Addr(nil), cfg.Domain.Relays...)
	if cfg.Kind == Relay {
		ends = append(ends, cfg.Local)
	}
	for _, e := range ends {
		if p, err := cfg.Domain.Delegated(e); err == nil { // else no 6rd address embeds it
			ps = append(ps, v6(p))
		}
	}
	return ps
}

// disguises are the addresses by which 6to4 and ISATAP would send to an IPv4
// address of ours, which speaks neither. The list is the caller's.
func disguises(a netip.Addr) []Pattern {
	return append(embed(sixToFour, []netip.Prefix{netip.PrefixFrom(a, 32)}), isatap(a))
}

// ownPatterns is what is ours inside.
func ownPatterns(cfg Config) []Pattern {
	switch cfg.Kind {
	case Edge:
		p, err := cfg.Domain.Delegated(cfg.Local)
		if err != nil { // validated before: own nothing rather than all
			return nil
		}
		return []Pattern{v6(p)}
	case Configured:
		return patterns6(cfg.Own)
	}
	return nil
}

// embed returns the patterns of IPv6 addresses that embed one of the IPv4
// prefixes right behind the prefix.
func embed(prefix netip.Prefix, v4s []netip.Prefix) []Pattern {
	var ps []Pattern
	for _, p := range v4s {
		a := prefix.Addr().As16()
		b := p.Addr().As4()
		copy(a[prefix.Bits()/8:], b[:])
		ps = append(ps, v6(netip.PrefixFrom(netip.AddrFrom16(a), prefix.Bits()+p.Bits())))
	}
	return ps
}

// embed6rd is embed for a 6rd domain, whose prefix is of any length and leaves
// out the shared bits; what is not in the shared prefix is left out too.
func embed6rd(d sixrd.Domain, v4s []netip.Prefix) []Pattern {
	b, err := d.Bits()
	if err != nil { // validated before
		return nil
	}
	var ps []Pattern
	for _, p := range v4s {
		n := uint(p.Bits())
		if n <= b.Shared || (addr4(p.Addr())^b.Common)&^(^uint32(0)>>b.Shared) != 0 {
			continue
		}
		ps = append(ps, Pattern{Hi: b.Delegated(addr4(p.Addr())), HiMask: ^(^uint64(0) >> (b.Len + n - b.Shared))})
	}
	return ps
}

// isatap matches every address whose interface identifier is ISATAP's for the
// IPv4 address, with the universal bit or without (RFC 5214 §6.1).
func isatap(a netip.Addr) Pattern {
	return Pattern{Lo: 0x5efe<<32 | uint64(addr4(a)), LoMask: ^uint64(0x0200 << 48)}
}

func prefixes(texts ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, t := range texts {
		ps = append(ps, netip.MustParsePrefix(t))
	}
	return ps
}

var anything = []Pattern{{}}

func v4(a netip.Addr) Pattern {
	return Pattern{Lo: uint64(addr4(a)), LoMask: 0xffffffff}
}

func patterns4(ps []netip.Prefix) []Pattern {
	var out []Pattern
	for _, p := range ps {
		mask := uint64(^(^uint32(0) >> p.Bits()))
		out = append(out, Pattern{Lo: uint64(addr4(p.Addr())) & mask, LoMask: mask})
	}
	return out
}

func v6(p netip.Prefix) Pattern {
	a := p.Addr().As16()
	q := Pattern{HiMask: ^(^uint64(0) >> min(p.Bits(), 64)), LoMask: ^(^uint64(0) >> max(p.Bits()-64, 0))}
	q.Hi = binary.BigEndian.Uint64(a[:8]) & q.HiMask
	q.Lo = binary.BigEndian.Uint64(a[8:]) & q.LoMask
	return q
}

func patterns6(ps []netip.Prefix) []Pattern {
	var out []Pattern
	for _, p := range ps {
		out = append(out, v6(p))
	}
	return out
}
