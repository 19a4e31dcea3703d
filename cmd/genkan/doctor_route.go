package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
	"genkan/tunnel/firewall"
)

// somewhere is an address of the IPv6 Internet, for questions about routes (RFC 3849: nobody has it).
var somewhere = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})

// towards asks the kernel by which link it reaches an address, and from which of ours.
func towards(to netip.Addr) (link string, local netip.Addr, ok bool) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return "", local, false
	}
	l, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", local, false
	}
	local, ok = netip.AddrFromSlice(routes[0].Src)
	return l.Attrs().Name, local.Unmap(), ok
}

// ours4 reports whether this host has an IPv4 address.
func ours4(a netip.Addr) bool {
	routes, err := netlink.RouteGet(a.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}

// checkRoute asks the kernel which way it would take: a route that is there is not yet a route that is used.
func checkRoute(_ context.Context, p *patient) []diagnosis {
	if p.tunnel == nil {
		return nil
	}
	tun := p.tunnel.Interface
	const why = "Clients' packets arrive, and no answer leaves."
	routes, err := netlink.RouteGet(somewhere.AsSlice())
	if err != nil || len(routes) == 0 {
		if fix := p.inTheWay(); fix != "" {
			return []diagnosis{found("route", bad, "the default route by %s is there, and the kernel does not use it: %v", tun, err).because(why+" Something else comes before it.", fix)}
		}
		return []diagnosis{found("route", bad, "there is no IPv6 default route: %v", err).because(why, p.defaultRoute())}
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	switch {
	case err != nil:
		return []diagnosis{found("route", warn, "the link of the default route cannot be read: %v", err).because("Whether it is the tunnel cannot be seen.", "ip -6 route get "+somewhere.String())}
	case link.Attrs().Name != tun:
		fix := p.inTheWay()
		if fix == "" {
			fix = p.defaultRoute()
		}
		return []diagnosis{found("route", bad, "IPv6 leaves by %s, not by %s", link.Attrs().Name, tun).
			because("Answers go out with our 6rd address by a network that does not know it, and are dropped there.", fix)}
	}
	return []diagnosis{found("route", fine, "IPv6 leaves by %s", tun)}
}

// defaultRoute is the command that makes the tunnel's default route.
func (p *patient) defaultRoute() string {
	if p.tunnel.Datapath == tunnel.DatapathKernel && p.tunnel.Relay.Is4() {
		return fmt.Sprintf("ip -6 route add default via ::%s dev %s", p.tunnel.Relay, p.tunnel.Interface)
	}
	return "ip -6 route add default dev " + p.tunnel.Interface
}

// inTheWay finds what comes before the tunnel's default route, as the command that removes it; "" is nothing.
func (p *patient) inTheWay() string {
	rules, err := netlink.RuleList(netlink.FAMILY_V6)
	const local, main = 0, 32766
	for _, r := range rules {
		if err == nil && r.Priority != local && r.Priority < main {
			return fmt.Sprintf("ip -6 rule del priority %d", r.Priority)
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{}, 0)
	if err != nil {
		return ""
	}
	ours, best := false, ""
	metric := 1 << 31
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		link, err := netlink.LinkByIndex(r.LinkIndex)
		switch {
		case r.Type == unix.RTN_UNICAST && err == nil && link.Attrs().Name == p.tunnel.Interface:
			ours = true
		case r.Priority < metric:
			metric = r.Priority
			best = fmt.Sprintf("ip -6 route del %sdefault metric %d", routeType(r.Type), r.Priority)
			if r.Type == unix.RTN_UNICAST && err == nil {
				best += " dev " + link.Attrs().Name
			}
		}
	}
	if !ours && best == "" {
		return ""
	}
	return best
}

// routeType is a type of route in ip(8)'s words, with a space behind.
func routeType(t int) string {
	switch t {
	case unix.RTN_UNREACHABLE:
		return "unreachable "
	case unix.RTN_PROHIBIT:
		return "prohibit "
	case unix.RTN_BLACKHOLE:
		return "blackhole "
	}
	return ""
}

// answersPass reports whether the rules of this host let answers to clients out: many let nothing new out.
func (p *patient) answersPass() bool {
	rules, err := firewall.Read()
	return err == nil && !ufwWithoutIPv6() && rules.Judge(answersBy(p.tunnel.Interface, p.tunnel.Address).packet).Result == firewall.Accepted
}

// checkSending sends one packet to an address that nobody has: a firewall on the way out says no to the sender itself.
func checkSending(ctx context.Context, p *patient) []diagnosis {
	if p.tunnel == nil {
		return nil
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "udp6", net.JoinHostPort(somewhere.String(), "9"))
	if err == nil {
		_, err = c.Write([]byte("genkan doctor"))
		c.Close()
	}
	switch {
	case errors.Is(err, syscall.EPERM) && p.answersPass():
		return []diagnosis{found("sending", fine, "a firewall of this host lets no new packet of ours out to port 9, but answers")}
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return []diagnosis{found("sending", bad, "an IPv6 packet of ours is refused: %v", err).
			because("A firewall of this host drops IPv6 on its way out; the line on the firewall names it, with its own fix.", "ip6tables -I OUTPUT -o "+p.tunnel.Interface+" -j ACCEPT")}
	case err != nil:
		return []diagnosis{found("sending", bad, "an IPv6 packet cannot be sent: %v", err).because("No answer leaves; the line on the route says why.", p.defaultRoute())}
	}
	return []diagnosis{found("sending", fine, "an IPv6 packet leaves")}
}
