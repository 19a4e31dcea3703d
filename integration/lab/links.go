package lab

import (
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pair joins two namespaces by a virtual Ethernet cable.
type pair struct {
	a, b         *Namespace
	aName, bName string
}

// connect makes the cable and brings both ends up.
func connect(p pair) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = p.aName
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: p.bName, PeerNamespace: netlink.NsFd(int(p.b.fd))}
	if err := p.a.nl.LinkAdd(link); err != nil {
		return fmt.Errorf("lab: connect %s to %s: %w", p.a.Name, p.b.Name, err)
	}
	if err := p.a.up(p.aName); err != nil {
		return err
	}
	return p.b.up(p.bName)
}

func (n *Namespace) up(link string) error {
	l, err := n.nl.LinkByName(link)
	if err == nil {
		err = n.nl.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %q: link %q up: %w", n.Name, link, err)
	}
	return nil
}

// DelLink cuts the cable of a link.
func (n *Namespace) DelLink(link string) error {
	l, err := n.nl.LinkByName(link)
	if err == nil {
		err = n.nl.LinkDel(l)
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %q: delete link %q: %w", n.Name, link, err)
	}
	return nil
}

// AddAddr gives the link an address that is usable at once: duplicate address
// detection is skipped.
func (n *Namespace) AddAddr(link string, addr netip.Prefix) error {
	return n.addAddr(link, &netlink.Addr{IPNet: ipNet(addr)}, addr)
}

// AddAlias gives the link a further IPv6 address that no program uses unless
// it asks for it: it is deprecated from the start (RFC 4862 §5.5.4).
func (n *Namespace) AddAlias(link string, addr netip.Addr) error {
	p := netip.PrefixFrom(addr, addr.BitLen())
	return n.addAddr(link, &netlink.Addr{IPNet: ipNet(p), ValidLft: math.MaxUint32}, p)
}

func (n *Namespace) addAddr(link string, a *netlink.Addr, addr netip.Prefix) error {
	l, err := n.nl.LinkByName(link)
	if err == nil {
		if addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		err = n.nl.AddrReplace(l, a)
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %q: address %s on %q: %w", n.Name, addr, link, err)
	}
	return nil
}

// DelAddr takes an address away; routes by it go, too.
func (n *Namespace) DelAddr(link string, addr netip.Prefix) error {
	l, err := n.nl.LinkByName(link)
	if err == nil {
		err = n.nl.AddrDel(l, &netlink.Addr{IPNet: ipNet(addr)})
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %q: address %s from %q: %w", n.Name, addr, link, err)
	}
	return nil
}

// AddRoute adds a route to dst through the link, by way of the neighbour via;
// an invalid via makes dst on-link.
func (n *Namespace) AddRoute(link string, dst netip.Prefix, via netip.Addr) error {
	l, err := n.nl.LinkByName(link)
	if err == nil {
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(dst)}
		if via.IsValid() {
			r.Gw = via.AsSlice()
		} else {
			r.Scope = netlink.SCOPE_LINK
		}
		err = n.nl.RouteAdd(r)
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %q: route %s by %q: %w", n.Name, dst, link, err)
	}
	return nil
}

// SetHop makes the router's hop to the network on a link as narrow as mtu:
// larger packets are fragmented or refused by ICMP. The link itself stays
// wide, as a virtual cable drops what is too large for its other end.
func (n *Namespace) SetHop(link string, network netip.Prefix, mtu int) error {
	l, err := n.nl.LinkByName(link)
	if err == nil {
		err = n.nl.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(network.Masked()), Scope: netlink.SCOPE_LINK, MTU: mtu})
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %q: hop of %d to %s: %w", n.Name, mtu, network, err)
	}
	return nil
}

// ipNet keeps the host bits, as an interface address needs them.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
