package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
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
	if errors.Is(err, os.ErrPermission) {
		return []diagnosis{found("kernel", warn, "/dev/net/tun is there, and cannot be opened: %v", cause(err)).
			because("Whether a tunnel can be made of it cannot be seen.", asRoot)}
	}
	return []diagnosis{found("kernel", bad, "neither /dev/net/tun (%v) nor the module sit is there", cause(err)).
		because("Without one of them there is no tunnel. Where this is a container, pass /dev/net/tun and CAP_NET_ADMIN in.", "modprobe sit || modprobe tun")}
}

// asRoot is the fix of what only root sees.
const asRoot = "sudo genkan doctor"

func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// checkUplink looks at the IPv4 route to the relay: 6rd is only as good as that.
func checkUplink(_ context.Context, p *patient) []diagnosis {
	cfg := p.tunnelConfig()
	if p.leaseErr != nil {
		return []diagnosis{found("dhcp", bad, "%v", p.leaseErr).
			because("Without the 6rd domain there is no tunnel.", "ask the provider for its 6rd prefix and relay, and write [tunnel] prefix and relays in the place of dhcp")}
	}
	relay := otherEnd(cfg)
	routes, err := netlink.RouteGet(relay.AsSlice())
	if err != nil || len(routes) == 0 {
		return []diagnosis{found("uplink", bad, "there is no IPv4 route to the relay %s: %v", relay, err).
			because("6rd carries IPv6 inside IPv4: no IPv4, no IPv6.", "ip route add default via YOUR-GATEWAY")}
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return []diagnosis{found("uplink", warn, "the link of the route to %s cannot be read: %v", relay, err).because("Its MTU cannot be judged.", "ip route get "+relay.String())}
	}
	mtu := 1280
	if p.tunnel != nil {
		mtu = p.tunnel.MTU
	}
	local, _ := netip.AddrFromSlice(routes[0].Src)
	local = local.Unmap()
	switch {
	case cfg.Local.IsValid() && !ours4(cfg.Local):
		return []diagnosis{found("uplink", bad, "no interface of this host has the local address %s", cfg.Local).
			because("Nothing that is sent to the tunnel arrives, and networks on the way drop what leaves it.", fmt.Sprintf("write [tunnel] local = %q, or leave local out; or ip addr add %s/32 dev %s", local, cfg.Local, link.Attrs().Name))}
	case link.Attrs().MTU < mtu+20:
		return []diagnosis{found("uplink", warn, "%s has MTU %d, and a full packet of the tunnel needs %d", link.Attrs().Name, link.Attrs().MTU, mtu+20).
			because("Large packets are fragmented on the way, and some networks drop fragments.", fmt.Sprintf("ip link set %s mtu %d", link.Attrs().Name, mtu+20))}
	case (local.IsPrivate() || carrierNAT.Contains(local)) && cfg.IPv4MaskLen == 0 && cfg.Kind != tunnel.Kind6in4:
		return []diagnosis{found("uplink", warn, "our address towards the relay is %s, a private one", local).
			because("The IPv6 address is made of the IPv4 address; behind NAT, answers go to somebody else.", "use the public address on this host, or ask the provider for ipv4_mask_len")}
	}
	by := ""
	if cfg.DHCP {
		by = fmt.Sprintf("; DHCP gives prefix %s, relays %s", cfg.Prefix, cfg.Relays)
	}
	return []diagnosis{found("uplink", fine, "%s leads to the relay %s from %s, MTU %d%s", link.Attrs().Name, relay, local, link.Attrs().MTU, by)}
}

// carrierNAT is what hosts behind a provider's NAT have (RFC 6598).
var carrierNAT = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)

// otherEnd is the address that our outer packets go to.
func otherEnd(cfg tunnel.Config) netip.Addr {
	if cfg.Kind == tunnel.Kind6in4 || len(cfg.Relays) == 0 {
		return cfg.Remote
	}
	return cfg.Relays[0]
}

// checkRelay sends packets to ourselves through each relay (RFC 5969 §8).
func checkRelay(ctx context.Context, p *patient) []diagnosis {
	cfg := p.tunnelConfig()
	if _, _, way := towards(otherEnd(cfg)); cfg.Kind == tunnel.Kind6in4 || p.leaseErr != nil || !way {
		return nil // checkUplink has told
	}
	results, err := tunnel.Probe(ctx, cfg)
	switch {
	case errors.Is(err, syscall.EPERM) && os.Geteuid() == 0:
		return []diagnosis{found("relay", bad, "a packet to the relay %s is refused on its way out: %v", otherEnd(cfg), syscall.EPERM).
			because("A firewall of this host drops protocol 41: no IPv6 packet leaves. A container needs CAP_NET_RAW, too.", fmt.Sprintf("iptables -I OUTPUT -p 41 -d %s -j ACCEPT", otherEnd(cfg)))}
	case err != nil:
		return []diagnosis{found("relay", warn, "it cannot be asked: %v", err).because("Whether protocol 41 passes both ways cannot be seen.", asRoot)}
	}
	var all []diagnosis
	for _, r := range results {
		if r.MTU == 0 {
			all = append(all, found("relay", bad, "%s sends nothing back of what we send to ourselves through it", r.Relay).
				because("Protocol 41 does not pass on the way, or this is not the provider's relay: no IPv6 at all, but where clients do reach us, as few relays send nothing back to its sender. This host's own rules are judged above.",
					fmt.Sprintf("ask the provider, or whoever runs the firewall between: is IPv4 protocol 41 let through between us and %s, both ways, and is that his 6rd relay?", r.Relay)))
			continue
		}
		all = append(all, found("relay", fine, "%s sends our packets back in %v, up to %d bytes", r.Relay, r.RTT.Round(100_000), r.MTU))
		if p.tunnel != nil && r.MTU < p.tunnel.MTU {
			all = append(all, found("mtu", bad, "packets of %d bytes pass through %s, and the tunnel's MTU is %d", r.MTU, r.Relay, p.tunnel.MTU).
				because("The path is narrower, and nothing says so to the senders (ICMP is filtered on the way): pages begin to load and hang. Then genkan reload.", fmt.Sprintf("[tunnel] mtu = %d", max(1280, r.MTU))))
		}
	}
	return all
}

// checkAddress looks for our address on the tunnel's interface.
func checkAddress(_ context.Context, p *patient) []diagnosis {
	if p.tunnel == nil && p.veiled != nil {
		return []diagnosis{found("address", warn, "whether a tunnel stands cannot be seen: %v", p.veiled).
			because("What depends on it cannot be looked at.", asRoot)}
	}
	if p.tunnel == nil {
		return []diagnosis{found("address", warn, "no tunnel stands").because("What depends on it cannot be looked at. For the tunnel without listeners: genkan tunnel up.", "systemctl start genkan")}
	}
	link, err := netlink.LinkByName(p.tunnel.Interface)
	if err != nil {
		return []diagnosis{found("address", bad, "the interface %s is gone: %v", p.tunnel.Interface, err).because("No IPv6 packet comes in or out. A Genkan that runs makes it again within seconds.", "journalctl -u genkan -n 50, which says what keeps it from that")}
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return []diagnosis{found("address", warn, "the addresses of %s cannot be read: %v", p.tunnel.Interface, err).because("Whether ours is there cannot be seen.", "ip -6 addr show dev "+p.tunnel.Interface)}
	}
	return []diagnosis{p.addressAmong(addrs)}
}

// addressAmong judges the addresses of the tunnel's interface.
func (p *patient) addressAmong(addrs []netlink.Addr) diagnosis {
	for _, a := range addrs {
		if ip, _ := netip.AddrFromSlice(a.IP); ip != p.tunnel.Address {
			continue
		}
		again := fmt.Sprintf("ip -6 addr del %[1]s dev %[2]s; ip -6 addr add %[1]s dev %[2]s nodad", a.IPNet, p.tunnel.Interface)
		switch {
		case a.Flags&unix.IFA_F_DADFAILED != 0:
			return found("address", bad, "%s on %s is a duplicate (dadfailed): another host has it", p.tunnel.Address, p.tunnel.Interface).
				because("The kernel refuses to use it. Find the other host first: it has, or claims, the IPv4 address "+p.tunnel.Local.String()+".", again)
		case a.Flags&unix.IFA_F_TENTATIVE != 0:
			return found("address", warn, "%s on %s is still tentative: the kernel asks whether another host has it", p.tunnel.Address, p.tunnel.Interface).
				because("Until that is over, nothing uses it.", "wait two seconds and ask again; if it stays, "+again)
		}
		return found("address", fine, "%s is on %s", p.tunnel.Address, p.tunnel.Interface)
	}
	return found("address", bad, "%s is not on %s", p.tunnel.Address, p.tunnel.Interface).
		because("Nothing that is sent to us arrives.", fmt.Sprintf("ip -6 addr add %s/128 dev %s", p.tunnel.Address, p.tunnel.Interface))
}

// checkClock asks the kernel whether its clock is disciplined: certificates and bans have dates.
func checkClock(context.Context, *patient) []diagnosis {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return []diagnosis{clock(t, err)}
}

func clock(t unix.Timex, err error) diagnosis {
	switch {
	case err != nil:
		return found("clock", warn, "it cannot be asked: %v", err).because("Certificates and bans have dates.", "timedatectl")
	case t.Status&unix.STA_UNSYNC != 0:
		return found("clock", warn, "nothing keeps it right (the kernel says: unsynchronised)").
			because("Once it drifts, certificates are refused, bans end at the wrong time, and DNS updates fail.", "systemctl enable --now systemd-timesyncd")
	}
	return found("clock", fine, "it is kept right")
}
