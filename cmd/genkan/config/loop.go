package config

import (
	"net/netip"
	"slices"

	"genkan/acl"
	"genkan/proxy"
)

// loops refuses a backend that is one of our own listeners, or an address of a pool, which leads to ourselves, too.
func (k *checker) loops(places []place, services []*service) {
	ours := distinct(places)
	for _, s := range services {
		networks := s.networks()
		for _, t := range s.To {
			b, err := proxy.ParseBackend(t.S)
			if err != nil || !b.Addr.IsValid() {
				continue
			}
			for _, pool := range k.c.Pools {
				if pool.Prefix.Contains(b.Addr) {
					k.mistake(t.Pos, "to %q lies in pool %q (%s), whose addresses all lead to this machine; write another prefix there", t.S, pool.Name.S, pool.Prefix.Pos)
				}
			}
			for _, p := range ours {
				if networks[p.Network] && p.takes(b, k.c.Tunnel) {
					k.mistake(t.Pos, "to %q leads back to our own listen %q (%s), a loop; write the address of the server behind", t.S, p.Listen, p.pos)
					break
				}
			}
		}
	}
}

// networks are those in which a service speaks to its backends: where it listens, and a route, which does not, TCP.
func (s *service) networks() map[string]bool {
	all := make(map[string]bool)
	for _, t := range s.Listen {
		if l, err := proxy.ParseListen(t.S); err == nil {
			all[l.Network] = true
		}
	}
	if len(all) == 0 {
		all["tcp"] = true
	}
	return all
}

// places finds where each listener of a service is written.
func (k *checker) places(s *service, listens []proxy.Listen, like place) []place {
	var all []place
	for _, t := range s.Listen {
		l, err := proxy.ParseListen(t.S)
		if err != nil || !slices.Contains(listens, l) {
			continue
		}
		like.Listen, like.pos = l, t.Pos
		all = append(all, like)
	}
	return all
}

// distinct keeps the first place of each listener: 10,000 sites share a handful.
func distinct(places []place) []place {
	seen := make(map[proxy.Listen]bool)
	var all []place
	for _, p := range places {
		if !seen[p.Listen] {
			seen[p.Listen] = true
			all = append(all, p)
		}
	}
	return all
}

// takes reports whether a connection to a backend would end at this listener of ours.
func (p place) takes(b proxy.Backend, t *Tunnel) bool {
	if b.Port > max(p.Port, p.PortEnd) || max(b.Port, b.PortEnd) < p.Port {
		return false
	}
	if p.Tunnel || p.Addr.Is6() && p.Addr.IsValid() {
		return false
	}
	if p.Addr == b.Addr {
		return true
	}
	ours := !p.Addr.IsValid() || p.Addr.Netip().IsUnspecified()
	return ours && (b.Addr.Netip().IsLoopback() || t != nil && t.Local.IsValid() && t.Local == b.Addr)
}

// A spot is what can be bound once.
type spot struct {
	network string
	tunnel  bool
	addr    acl.Addr
	zone    string
	port    uint16
}

// shared refuses two services that want the same connections of one listener: what tells them apart is the
// name, in Host for sites and in the TLS ClientHello for forwards with sni.
func (k *checker) shared(places []place) {
	type claim struct {
		spot
		what string // "host NAME", "sni NAME", "all" TLS and other connections, or "a site"
	}
	first := make(map[claim]*place, 2*len(places))
	take := func(p *place, at spot, claims, against []string, why string) bool {
		for _, c := range against {
			if other, taken := first[claim{at, c}]; taken && other.service != p.service {
				k.mistake(p.pos, "listen %q is taken by %s (%s), and %s", p.Listen, other.service, other.pos, why)
				return false
			}
		}
		for _, c := range claims {
			if _, taken := first[claim{at, c}]; !taken {
				first[claim{at, c}] = p
			}
		}
		return true
	}
	for i := range places {
		p := &places[i]
		for _, at := range p.spots() {
			if !p.claim(at, take) {
				break
			}
		}
	}
}

// claim takes a spot, as far as the service needs it.
func (p *place) claim(at spot, take func(p *place, at spot, claims, against []string, why string) bool) bool {
	const byName = "nothing tells their clients apart; choose another port, or write sni = [\"NAME\"]"
	switch {
	case p.forward != nil && len(p.forward.SNI) == 0:
		return take(p, at, []string{"all"}, []string{"all", "a site"}, byName)
	case p.forward != nil:
		for _, n := range p.forward.SNI {
			if !take(p, at, []string{"sni " + n}, []string{"sni " + n}, "both take the TLS name "+quote(n)+"; write another sni for one of them") {
				return false
			}
		}
		return true
	}
	if !take(p, at, []string{"a site"}, []string{"all"}, "a forward takes all connections of its port; choose another port, or write sni = [\"NAME\"] in the forward") {
		return false
	}
	for _, h := range p.site.Hosts {
		if !take(p, at, []string{"host " + h}, []string{"host " + h}, "both answer to "+quote(h)+"; write other hosts for one of them") {
			return false
		}
	}
	return true
}

// spots are the sockets of a listener: one a port, and one a family where it has no address.
func (p place) spots() []spot {
	addrs := []acl.Addr{p.Addr}
	if !p.Tunnel && !p.Addr.IsValid() {
		addrs = []acl.Addr{acl.AddrFrom(netip.IPv6Unspecified()), acl.AddrFrom(netip.IPv4Unspecified())}
	}
	var all []spot
	for port := int(p.Port); port <= int(max(p.Port, p.PortEnd)); port++ {
		for _, a := range addrs {
			all = append(all, spot{p.Network, p.Tunnel, a, p.Zone, uint16(port)})
		}
	}
	return all
}
