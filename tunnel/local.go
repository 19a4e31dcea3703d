package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"genkan/tunnel/ingress"
	"genkan/tunnel/sixrd"
)

// A place is where the tunnel stands on the IPv4 side, and what follows from
// it. It changes when our IPv4 address does.
type place struct {
	Local      netip.Addr   // our IPv4 address
	Uplink     string       // the interface towards the other end
	Index      int          // of the uplink, 0 where there is none
	UplinkMTU  int          // 0 where there is no route yet
	Broadcasts []netip.Addr // of the uplink's networks
	Delegated  netip.Prefix
	Address    netip.Addr
	Gateway    netip.Addr // the relay in use; only for a 6rd edge
	// GatewayAnswers: it has sent a packet of ours back to us.
	GatewayAnswers bool
}

// find looks where the tunnel stands now.
func (c Config) find() (place, error) {
	p := place{Local: c.Local}
	towards := c.Remote
	if c.Kind == Kind6RD && len(c.Relays) > 0 {
		towards = c.Relays[0]
	}
	if towards.IsValid() {
		if err := p.route(towards); err != nil && !p.Local.IsValid() {
			return place{}, err
		}
	}
	if p.Uplink == "" {
		p.owner()
	}
	if c.Kind == Kind6in4 {
		p.Address, p.Delegated = c.Address.Addr(), c.Address.Masked()
		return p, nil
	}
	if c.outside(p.Local) {
		p.Address = c.Address.Addr()
		return p, nil
	}
	d := c.domainOf(p.Local)
	var err error
	if p.Delegated, err = d.Delegated(p.Local); err == nil {
		p.Address, err = d.Address(p.Local)
	}
	if c.Role == RoleRelay {
		// RFC 5969 §12: of its own prefix a relay has the Subnet-Router anycast
		// address; all others lead nowhere, as packets to them would come round.
		p.Address = p.Delegated.Addr()
	}
	if err != nil {
		return place{}, fmt.Errorf("tunnel: %w", err)
	}
	return p, nil
}

// route asks the kernel for the way to an address: the source address that it
// would take, and the interface.
func (p *place) route(to netip.Addr) error {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return fmt.Errorf("tunnel: local \"auto\": no IPv4 route to the relay %s (%w); write local, or bring up IPv4 first", to, err)
	}
	if !p.Local.IsValid() {
		src, ok := netip.AddrFromSlice(routes[0].Src)
		if src = src.Unmap(); !ok || !src.Is4() || src.IsLoopback() {
			return fmt.Errorf("tunnel: local \"auto\": the route to the relay %s has no source address; write local", to)
		}
		p.Local = src
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return fmt.Errorf("tunnel: uplink: %w", err)
	}
	p.useLink(link)
	return nil
}

// owner finds the interface that has our address, where no route says it.
func (p *place) owner() {
	links, err := netlink.LinkList()
	if err != nil {
		return
	}
	for _, link := range links {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if a.IP.Equal(p.Local.AsSlice()) {
				p.useLink(link)
				return
			}
		}
	}
}

func (p *place) useLink(link netlink.Link) {
	p.Uplink, p.Index, p.UplinkMTU = link.Attrs().Name, link.Attrs().Index, link.Attrs().MTU
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return
	}
	for _, a := range addrs {
		if b, ok := netip.AddrFromSlice(a.Broadcast); ok && !b.Unmap().IsUnspecified() {
			p.Broadcasts = append(p.Broadcasts, b.Unmap())
		}
		// An address added without one has it all the same.
		if b, ok := lastOf(a.IPNet); ok && !slices.Contains(p.Broadcasts, b) {
			p.Broadcasts = append(p.Broadcasts, b)
		}
	}
}

// lastOf returns the directed broadcast address of an IPv4 network; those of
// two addresses and of one have none (RFC 3021).
func lastOf(n *net.IPNet) (netip.Addr, bool) {
	ones, bits := n.Mask.Size()
	ip := n.IP.To4()
	if ip == nil || bits != 32 || ones > 30 {
		return netip.Addr{}, false
	}
	last := [4]byte(ip)
	for i, m := range n.Mask {
		last[i] |= ^m
	}
	return netip.AddrFrom4(last), true
}

// strictUplink is the uplink where packets that come by other interfaces are
// let in only if the route back to their source leads there: a container behind
// one of those may claim to be a relay. A relay's address may be reached by
// several interfaces, with routes that say nothing: 0.
func (c Config) strictUplink(p place) int {
	if c.Role == RoleRelay {
		return 0
	}
	return p.Index
}

// checker is the ingress table for c at p.
func (c Config) checker(p place, mtu int) (*ingress.Checker, error) {
	ic := ingress.Config{Local: p.Local, Broadcasts: p.Broadcasts, MTU: mtu}
	switch {
	case c.Kind == Kind6in4:
		ic.Kind, ic.Remote = ingress.Configured, c.Remote
		ic.Own = append(ic.Own, netip.PrefixFrom(p.Address, 128))
		for _, r := range c.Routed {
			ic.Own = append(ic.Own, r.Masked())
		}
	case c.Role == RoleRelay:
		ic.Kind, ic.Domain = ingress.Relay, c.domainOf(p.Local)
	default:
		ic.Kind, ic.Domain, ic.Gateway = ingress.Edge, c.domainOf(p.Local), p.Gateway
	}
	check, err := ingress.New(ic)
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	return check, nil
}

// domainOf is the 6rd domain that c describes, as one with the given IPv4
// address in it sees it.
func (c Config) domainOf(local netip.Addr) sixrd.Domain {
	return sixrd.Domain{Prefix: c.Prefix, IPv4MaskLen: c.IPv4MaskLen, Common: c.common(local).Addr(), Relays: c.Relays}
}

// common is the IPv4 prefix that all edges of the domain share.
func (c Config) common(local netip.Addr) netip.Prefix {
	if c.IPv4Common.IsValid() {
		return c.IPv4Common
	}
	return netip.PrefixFrom(local, c.IPv4MaskLen)
}

// outside reports whether a relay's IPv4 address is none that a 6rd address of
// its domain embeds. RFC 5969 §7.1.1 speaks of the edges' addresses only.
func (c Config) outside(local netip.Addr) bool {
	return c.IPv4Common.IsValid() && !c.IPv4Common.Contains(local)
}

// validateCommon judges IPv4Common, and Address as far as it belongs to it.
func (c Config) validateCommon() (errs []error) {
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("tunnel: "+format, a...)) }
	switch p := c.IPv4Common; {
	case !p.IsValid():
		return nil
	case c.Role != RoleRelay:
		bad("ipv4_common %q: for the role \"relay\" only; an edge's own IPv4 address has these bits", p)
	case !p.Addr().Is4() || p != p.Masked() || p.Bits() != c.IPv4MaskLen || p.Bits() == 0:
		bad("ipv4_common %q: not the IPv4 prefix of ipv4_mask_len (%d) bits that all edges share, such as 10.0.0.0/8 with 8", p, c.IPv4MaskLen)
	case c.outside(c.Local) && (!c.Address.IsValid() || !c.Address.Addr().Is6() || c.Address.Addr().Is4In6()):
		bad("local %q is outside of ipv4_common %q and so has no 6rd address; write address, an IPv6 address for the relay, such as 2001:db8::1/128", c.Local, p)
	}
	return errs
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
