package config

import (
	"net/netip"

	"genkan/acl"
	"genkan/proxy"
)

// An Admin is [admin]: where this Genkan shows its state and metrics, and nothing can be changed.
type Admin struct {
	Pos    acl.Pos // of the header
	Listen Text    // ADDRESS:PORT

	hasListen bool // it is written, though maybe as no text
}

func adminFields() []field[Admin] {
	return []field[Admin]{
		{"listen", `"127.0.0.1:6464"`, "one address and port, best of the loopback: the status page, /metrics, /healthz and /status by HTTP, to look at only",
			func(d *decoder, a *Admin, v *value) { a.Listen, a.hasListen = d.text(v), true }},
	}
}

// admin translates [admin]; the zero AddrPort is none.
func (k *checker) admin(places []place) netip.AddrPort {
	a := k.c.Admin
	switch {
	case a == nil || k.anyDamage():
		return netip.AddrPort{}
	case !a.Listen.Given() && a.hasListen:
		return netip.AddrPort{} // what was written could not be read, and has been reported
	case !a.Listen.Given():
		k.mistake(a.Pos, "[admin] has no listen; write listen = \"127.0.0.1:6464\"")
		return netip.AddrPort{}
	}
	pos, text := a.Listen.Pos, a.Listen.S
	l, err := proxy.ParseListen(text)
	switch {
	case err != nil:
		k.mistake(pos, "listen %v", err)
		return netip.AddrPort{}
	case l.Network != "tcp" || !l.Addr.IsValid() || l.Addr.Netip().IsUnspecified() || l.Zone != "" || l.PortEnd > l.Port:
		k.mistake(pos, "listen %q: [admin] is not for everybody, and has one TCP address and port; write \"127.0.0.1:6464\"", text)
		return netip.AddrPort{}
	case !l.Addr.Netip().IsLoopback():
		k.warn(pos, "listen %q: all who reach this address see the state and the metrics; best is the loopback, as \"127.0.0.1:6464\"", text)
	}
	for _, p := range places {
		if p.meets(l) {
			k.mistake(p.pos, "listen %q has the port of [admin] (%s); choose another for one of them", p.Listen, pos)
			break
		}
	}
	return netip.AddrPortFrom(l.Addr.Netip(), l.Port)
}

// meets reports whether a service's listener and the one of [admin] would want one socket.
func (p place) meets(l proxy.Listen) bool {
	if p.Network != "tcp" || p.Tunnel || l.Port == 0 || l.Port < p.Port || max(p.Port, p.PortEnd) < l.Port {
		return false
	}
	return !p.Addr.IsValid() || p.Addr == l.Addr || p.Addr.Is4() == l.Addr.Is4() && p.Addr.Netip().IsUnspecified()
}
