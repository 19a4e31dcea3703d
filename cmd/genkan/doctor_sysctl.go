package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
)

// sysctl reads a value below net.ipv6; "" where there is none.
func sysctl(key string) string {
	b, err := os.ReadFile("/proc/sys/net/ipv6/" + strings.ReplaceAll(key, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// checkSysctls looks at the kernel's switches for IPv6.
func checkSysctls(_ context.Context, p *patient) []diagnosis {
	var all []diagnosis
	say := func(s severity, key, value, why, fix string) {
		all = append(all, found("sysctl", s, "net.ipv6.%s is %s", key, value).because(why, fix))
	}
	set := func(key, value string) string { return "sysctl -w net.ipv6." + key + "=" + value }
	if p.tunnel != nil {
		conf := "conf." + p.tunnel.Interface + "."
		if key := conf + "disable_ipv6"; sysctl(key) == "1" {
			say(bad, key, "1", "IPv6 is switched off on the tunnel: nothing comes in or out.", set(key, "0"))
		}
		if key := conf + "accept_ra"; sysctl(key) != "" && sysctl(key) != "0" {
			say(warn, key, sysctl(key), "A router advertisement that comes by the tunnel, from anybody, would change this host's routes.", set(key, "0"))
		}
	}
	const forwarding, only = "conf.all.forwarding", "bindv6only"
	if sysctl(forwarding) == "1" && p.plan.Tunnel.Role != tunnel.RoleRelay {
		if p.plan.Tunnel.Expose == tunnel.ExposeAll {
			say(warn, forwarding, "1", "With expose = \"all\", what comes by the tunnel is passed on to the networks behind this host.", set(forwarding, "0"))
		}
		if link := learns6(); link != "" {
			say(warn, "conf."+link+".accept_ra", "1", "As this host forwards, it ignores router advertisements, and its native IPv6 on "+link+" ends when their routes do.", set("conf."+link+".accept_ra", "2"))
		}
	}
	if sysctl(only) == "1" {
		for _, s := range p.plan.Services() {
			for _, b := range s.To {
				if b.Addr.IsValid() && only6(b.Addr.String(), b.Port) {
					say(bad, only, "1", "The server behind "+b.String()+" of "+s.Name+" listens on [::] and gets no IPv4 by that: Genkan cannot reach it. Restart it after the fix, or let it listen on "+b.String()+".",
						set(only, "0"))
				}
			}
		}
	}
	if len(all) == 0 {
		all = append(all, found("sysctl", fine, "forwarding, accept_ra and bindv6only are as they should be"))
	}
	return all
}

// learns6 is a link with accept_ra = 1 and a default route from a router advertisement; "" is none.
func learns6() string {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return ""
	}
	for _, r := range routes {
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && sysctl("conf."+link.Attrs().Name+".accept_ra") == "1" {
			return link.Attrs().Name
		}
	}
	return ""
}

// only6 reports whether one of our own IPv4 addresses has nobody on a port that IPv6 has somebody on.
func only6(addr string, port uint16) bool {
	free := func(network string, ip net.IP) bool {
		l, err := net.ListenTCP(network, &net.TCPAddr{IP: ip, Port: int(port)})
		if err == nil {
			l.Close()
		}
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(addr), Port: int(port)})
	if err != nil { // not ours, or taken
		return false
	}
	l.Close()
	return !free("tcp6", net.IPv6unspecified)
}
