package ingress

import (
	"fmt"
	"net/netip"

	"genkan/tunnel/sixrd"
)

// Kind is what stands at this end of the tunnel. The zero Kind is none.
type Kind uint8

// The kinds of tunnel ends.
const (
	// Edge is a 6rd customer edge (RFC 5969 §7).
	Edge Kind = iota + 1
	// Relay is a 6rd border relay (RFC 5969 §6).
	Relay
	// Configured is one end of a configured 6in4 tunnel (RFC 4213 §3).
	Configured
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Edge:
		return "edge"
	case Relay:
		return "relay"
	case Configured:
		return "6in4"
	}
	return "none"
}

// Config is what a Checker is made of.
type Config struct {
	Kind Kind

	// Local is our IPv4 address, the destination of every outer packet.
	Local netip.Addr

	// Broadcasts are the directed broadcast addresses of the uplink's networks.
	// They are no packet's source, and nothing is sent to them. May be empty.
	Broadcasts []netip.Addr

	// Domain is the 6rd domain, for Edge and Relay. An Edge needs one relay at
	// least; with IPv4MaskLen above 0, Domain.Common may be Local.
	Domain sixrd.Domain

	// Gateway is the relay that an Edge sends to, one of Domain.Relays.
	// Zero: the first of them.
	Gateway netip.Addr

	// NoHairpin makes a Relay refuse what one edge sends to another through it.
	NoHairpin bool

	// Remote is the IPv4 address of the other end, for Configured.
	Remote netip.Addr

	// Own is what is ours inside, for Configured: the tunnel's own address as
	// a /128 and every prefix that is routed to us. (Of the tunnel's link prefix,
	// one address is ours and another the peer's.) An Edge owns its delegated
	// prefix.
	Own []netip.Prefix

	// AllowULA lets unique local addresses (fc00::/7) in, for tunnels within one
	// organisation. Zero: they are martians.
	AllowULA bool

	// MTU is the tunnel's, in bytes of inner packet, 1280 or more: no
	// packet-too-big can truthfully announce a larger one. Zero: 1280.
	MTU int
}

func (c Config) validate() error {
	if err := unicast4("local", c.Local); err != nil {
		return err
	}
	for _, b := range c.Broadcasts {
		if !b.Is4() {
			return fmt.Errorf("ingress: broadcast address %q is not IPv4; give the uplink's IPv4 broadcast addresses", b)
		}
	}
	if c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU) {
		return fmt.Errorf("ingress: mtu %d; write %d to %d", c.MTU, minMTU, maxMTU)
	}
	switch c.Kind {
	case Edge, Relay:
		return c.validateSixRD()
	case Configured:
		return c.validateConfigured()
	}
	return fmt.Errorf("ingress: kind %d of tunnel is not known; use Edge, Relay or Configured", c.Kind)
}

func (c Config) validateSixRD() error {
	if err := c.Domain.Validate(); err != nil {
		return err
	}
	if c.Kind == Relay {
		return nil
	}
	if _, err := c.Domain.Delegated(c.Local); err != nil {
		return err
	}
	if len(c.Domain.Relays) == 0 {
		return fmt.Errorf("ingress: no border relay; write the provider's in relays")
	}
	known := !c.Gateway.IsValid()
	for _, r := range c.Domain.Relays {
		if r == c.Local {
			return fmt.Errorf("ingress: relay %q is our own address; a border relay has the role \"relay\"", r)
		}
		known = known || r == c.Gateway
	}
	if !known {
		return fmt.Errorf("ingress: gateway %q is not one of the relays; choose one of %v", c.Gateway, c.Domain.Relays)
	}
	return nil
}

func (c Config) validateConfigured() error {
	if err := unicast4("remote", c.Remote); err != nil {
		return err
	}
	if c.Remote == c.Local {
		return fmt.Errorf("ingress: remote %q is our own address; write the other end's", c.Remote)
	}
	if len(c.Own) == 0 {
		return fmt.Errorf("ingress: no IPv6 address of our own; write the one that the tunnel broker gave")
	}
	for _, p := range c.Own {
		if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p != p.Masked() || !p.Addr().IsGlobalUnicast() {
			return fmt.Errorf("ingress: own prefix %q is not an IPv6 unicast prefix without host bits; write %q", p, p.Masked())
		}
	}
	return nil
}

func unicast4(what string, a netip.Addr) error {
	if !a.Is4() {
		return fmt.Errorf("ingress: %s address %q is not IPv4; write an IPv4 address", what, a)
	}
	for _, p := range martian4 {
		if p.Contains(a) {
			return fmt.Errorf("ingress: %s address %q lies in %q; write a unicast address", what, a, p)
		}
	}
	return nil
}
