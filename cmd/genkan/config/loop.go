package config

import (
	"strings"

	"genkan/acl"
	"genkan/proxy"
)

// loops refuses a backend that is one of our own listeners.
func (k *checker) loops(places []place, services []*service) {
	for _, s := range services {
		for _, t := range s.To {
			b, err := proxy.ParseBackend(t.S)
			if err != nil || !b.Addr.IsValid() {
				continue
			}
			for _, p := range places {
				if p.Network == "tcp" && p.takes(b, k.c.Tunnel) {
					k.mistake(t.Pos, "to %q leads back to our own listen %q (%s), a loop; write the address of the server behind", t.S, p.Listen, p.pos)
					break
				}
			}
		}
	}
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
	first := make(map[claim]place)
	take := func(p place, at spot, claims, against []string, why string) bool {
		for _, c := range against {
			if other, taken := first[claim{at, c}]; taken && other.service != p.service {
				k.mistake(p.pos, "listen %q is taken by %s (%s), and "+why, p.Listen, other.service, other.pos)
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
	for _, p := range places {
		at := spot{p.Network, p.Tunnel, p.Addr, p.Zone, p.Port}
		switch {
		case p.site != nil:
			if !take(p, at, []string{"a site"}, []string{"all"}, "a forward takes all connections of its port; choose another port, or write sni = [\"NAME\"] in the forward") {
				continue
			}
			for _, h := range p.site.Hosts {
				take(p, at, []string{"host " + h}, []string{"host " + h}, "both answer to "+strings.ReplaceAll(quote(h), "%", "%%")+"; write other hosts for one of them")
			}
		case len(p.forward.SNI) == 0:
			take(p, at, []string{"all"}, []string{"all", "a site"}, "nothing tells their clients apart; choose another port, or write sni = [\"NAME\"]")
		default:
			for _, n := range p.forward.SNI {
				take(p, at, []string{"sni " + n}, []string{"sni " + n}, "both take the TLS name "+strings.ReplaceAll(quote(n), "%", "%%")+"; write another sni for one of them")
			}
		}
	}
}
