package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
)

// checkKernel looks for what a tunnel can be made of.
func checkKernel(_ context.Context, p *patient) []diagnosis {
	if p.tunnel != nil {
		return []diagnosis{found("kernel", fine, "the tunnel runs on the %s datapath", p.tunnel.Datapath)}
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err == nil {
		tun.Close()
		return []diagnosis{found("kernel", fine, "/dev/net/tun can be opened")}
	}
	if _, sit := os.Stat("/sys/module/sit"); sit == nil {
		return []diagnosis{found("kernel", fine, "the module sit is loaded")}
	}
	return []diagnosis{found("kernel", bad, "neither /dev/net/tun (%v) nor the module sit is there", cause(err)).
		because("Without one of them there is no tunnel.", "modprobe sit || modprobe tun; in a container, pass /dev/net/tun and CAP_NET_ADMIN in")}
}

func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// checkUplink looks at the IPv4 route to the relay: 6rd is only as good as that.
func checkUplink(_ context.Context, p *patient) []diagnosis {
	relay := otherEnd(*p.plan.Tunnel)
	routes, err := netlink.RouteGet(relay.AsSlice())
	if err != nil || len(routes) == 0 {
		return []diagnosis{found("uplink", bad, "there is no IPv4 route to the relay %s: %v", relay, err).
			because("6rd carries IPv6 inside IPv4: no IPv4, no IPv6.", "ip route add default via YOUR-GATEWAY")}
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return []diagnosis{found("uplink", warn, "the link of the route to %s cannot be read: %v", relay, err)}
	}
	mtu := 1280
	if p.tunnel != nil {
		mtu = p.tunnel.MTU
	}
	local, _ := netip.AddrFromSlice(routes[0].Src)
	local = local.Unmap()
	switch {
	case link.Attrs().MTU < mtu+20:
		return []diagnosis{found("uplink", warn, "%s has MTU %d, and a full packet of the tunnel needs %d", link.Attrs().Name, link.Attrs().MTU, mtu+20).
			because("Large packets are fragmented on the way, and some networks drop fragments.", fmt.Sprintf("ip link set %s mtu %d", link.Attrs().Name, mtu+20))}
	case local.IsPrivate() && p.plan.Tunnel.IPv4MaskLen == 0 && p.plan.Tunnel.Kind != tunnel.Kind6in4:
		return []diagnosis{found("uplink", warn, "our address towards the relay is %s, a private one", local).
			because("The IPv6 address is made of the IPv4 address; behind NAT, answers go to somebody else.", "use the public address on this host, or ask the provider for ipv4_mask_len")}
	}
	return []diagnosis{found("uplink", fine, "%s leads to the relay %s from %s, MTU %d", link.Attrs().Name, relay, local, link.Attrs().MTU)}
}

// otherEnd is the address that our outer packets go to.
func otherEnd(cfg tunnel.Config) netip.Addr {
	if cfg.Kind == tunnel.Kind6in4 {
		return cfg.Remote
	}
	return cfg.Relays[0]
}

// checkRelay sends packets to ourselves through each relay (RFC 5969 §8).
func checkRelay(ctx context.Context, p *patient) []diagnosis {
	if p.plan.Tunnel.Kind == tunnel.Kind6in4 {
		return nil
	}
	results, err := tunnel.Probe(ctx, *p.plan.Tunnel)
	if err != nil {
		return []diagnosis{found("relay", warn, "it cannot be asked: %v", err).because("", "run genkan doctor as root")}
	}
	var all []diagnosis
	for _, r := range results {
		if r.MTU == 0 {
			all = append(all, found("relay", bad, "%s sends nothing back of what we send to ourselves through it", r.Relay).
				because("Protocol 41 does not pass, or this is not the provider's relay: no IPv6 at all.",
					fmt.Sprintf("iptables -I INPUT -p 41 -s %s -j ACCEPT (ufw: ufw allow proto ipv6 from %s); then ask the provider whether protocol 41 is filtered, and for the relay's address", r.Relay, r.Relay)))
			continue
		}
		all = append(all, found("relay", fine, "%s sends our packets back in %v, up to %d bytes", r.Relay, r.RTT.Round(100_000), r.MTU))
		if p.tunnel != nil && r.MTU < p.tunnel.MTU {
			all = append(all, found("mtu", bad, "packets of %d bytes pass through %s, and the tunnel's MTU is %d", r.MTU, r.Relay, p.tunnel.MTU).
				because("Pages begin to load and hang.", fmt.Sprintf("[tunnel] mtu = %d", max(1280, r.MTU))))
		}
	}
	return all
}

// checkAddress looks for our address on the tunnel's interface.
func checkAddress(_ context.Context, p *patient) []diagnosis {
	if p.tunnel == nil {
		return []diagnosis{found("address", warn, "no tunnel stands").because("What depends on it cannot be looked at.", "genkan run, or genkan tunnel up")}
	}
	link, err := netlink.LinkByName(p.tunnel.Interface)
	if err != nil {
		return []diagnosis{found("address", bad, "the interface %s is gone: %v", p.tunnel.Interface, err).because("", "genkan makes it again within seconds; see its log")}
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return []diagnosis{found("address", warn, "the addresses of %s cannot be read: %v", p.tunnel.Interface, err)}
	}
	for _, a := range addrs {
		if ip, _ := netip.AddrFromSlice(a.IP); ip != p.tunnel.Address {
			continue
		}
		switch {
		case a.Flags&unix.IFA_F_DADFAILED != 0:
			return []diagnosis{found("address", bad, "%s on %s is a duplicate: another host has it", p.tunnel.Address, p.tunnel.Interface).
				because("The kernel refuses to use it.", "find the other host with the IPv4 address "+p.tunnel.Local.String())}
		case a.Flags&unix.IFA_F_TENTATIVE != 0:
			return []diagnosis{found("address", warn, "%s on %s is still tentative", p.tunnel.Address, p.tunnel.Interface)}
		}
		return []diagnosis{found("address", fine, "%s is on %s", p.tunnel.Address, p.tunnel.Interface)}
	}
	return []diagnosis{found("address", bad, "%s is not on %s", p.tunnel.Address, p.tunnel.Interface).
		because("Nothing that is sent to us arrives.", fmt.Sprintf("ip -6 addr add %s/128 dev %s", p.tunnel.Address, p.tunnel.Interface))}
}

// somewhere is an address of the IPv6 Internet, for questions about routes (RFC 3849: nobody has it).
var somewhere = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})

// checkRoute asks the kernel which way it would take: a route that is there is not yet a route that is used.
func checkRoute(_ context.Context, p *patient) []diagnosis {
	if p.tunnel == nil {
		return nil
	}
	fix := fmt.Sprintf("ip -6 route add default dev %s", p.tunnel.Interface)
	routes, err := netlink.RouteGet(somewhere.AsSlice())
	if err != nil || len(routes) == 0 {
		return []diagnosis{found("route", bad, "the kernel knows no way to the IPv6 Internet: %v", err).
			because("Clients' packets arrive, and no answer leaves.", fix)}
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	switch {
	case err != nil:
		return []diagnosis{found("route", warn, "the link of the default route cannot be read: %v", err)}
	case link.Attrs().Name != p.tunnel.Interface:
		return []diagnosis{found("route", bad, "IPv6 leaves by %s, not by %s", link.Attrs().Name, p.tunnel.Interface).
			because("Answers go out with our 6rd address by a network that does not know it, and are dropped there.", "ip -6 route del default dev "+link.Attrs().Name+", or start Genkan with --replace")}
	}
	return []diagnosis{found("route", fine, "IPv6 leaves by %s", p.tunnel.Interface)}
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
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return []diagnosis{found("sending", bad, "an IPv6 packet of ours is refused: %v", err).
			because("A firewall of this host drops IPv6 on its way out.", "ip6tables -I OUTPUT -j ACCEPT; with ufw: IPV6=yes in /etc/default/ufw, then ufw reload")}
	case err != nil:
		return []diagnosis{found("sending", bad, "an IPv6 packet cannot be sent: %v", err)}
	}
	return []diagnosis{found("sending", fine, "an IPv6 packet leaves")}
}

// checkClock asks the kernel whether its clock is disciplined: certificates and bans have dates.
func checkClock(context.Context, *patient) []diagnosis {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return []diagnosis{found("clock", warn, "it cannot be asked: %v", err)}
	}
	if t.Status&unix.STA_UNSYNC != 0 {
		return []diagnosis{found("clock", warn, "nothing keeps it right").
			because("Certificates are refused and bans end at the wrong time once it drifts.", "systemctl enable --now systemd-timesyncd")}
	}
	return []diagnosis{found("clock", fine, "it is kept right")}
}

// wantedPorts are the TCP ports that clients of the tunnel come to, as text.
func (p *patient) wantedPorts() []string {
	var ports []string
	for _, l := range p.plan.Listens() {
		if l.Network == "tcp" && !slices.Contains(ports, strconv.Itoa(int(l.Port))) && !l.Addr.Is4() {
			ports = append(ports, strconv.Itoa(int(l.Port)))
		}
	}
	return ports
}

// ufwWithoutIPv6 reports whether ufw is on and has not been told of IPv6: it then drops all of it.
func ufwWithoutIPv6() bool {
	on, err := os.ReadFile("/etc/ufw/ufw.conf")
	defaults, err2 := os.ReadFile("/etc/default/ufw")
	return err == nil && err2 == nil && setting(on, "ENABLED") == "yes" && setting(defaults, "IPV6") == "no"
}

// setting reads KEY=value of a shell file.
func setting(text []byte, key string) string {
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return strings.ToLower(strings.Trim(value, `"'`))
		}
	}
	return ""
}
