package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"genkan/proxy"
	"genkan/tunnel"
	"genkan/tunnel/firewall"
)

// stranger is some client of the IPv6 Internet: an address that no list of bogus ones has.
var stranger = netip.AddrFrom16([16]byte{0x2a, 0x00, 15: 1})

// A passage is packets that have to come through the firewalls of this host.
type passage struct {
	packet   firewall.Packet
	what     string
	why      string
	severity severity // where they do not
	v6       bool
	match    string // in nft(8)'s words
	iptables string // in iptables(8)'s
	ufw      string // "": ufw lets it through by itself
}

// checkFirewall foretells what the rules of this host do to what the tunnel lives of: the commonest reason for an IPv6
// that is there and does not work.
func checkFirewall(_ context.Context, p *patient) []diagnosis {
	ways := p.passages()
	if len(ways) == 0 {
		return nil // a host without IPv6, that shall have none
	}
	if ufwWithoutIPv6() {
		return []diagnosis{found("firewall", bad, "ufw is on, with IPV6=no in /etc/default/ufw").
			because("It drops every IPv6 packet, in and out: clients get no answer, and programs here \"Operation not permitted\".",
				"sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw && ufw reload")}
	}
	rules, err := firewall.Read()
	if err != nil {
		return []diagnosis{found("firewall", warn, "its rules cannot be read: %v", err).because("What drops IPv6 cannot be seen.", asRoot)}
	}
	var all []diagnosis
	for _, way := range ways {
		if v := rules.Judge(way.packet); v.Result != firewall.Accepted {
			all = append(all, way.blocked(v))
		}
	}
	if len(all) == 0 {
		all = append(all, found("firewall", fine, "it lets our ports, answers and packet-too-big through, and protocol 41"))
	}
	return append(all, legacyTables()...)
}

// passages are all that has to come through, the outer packets first.
func (p *patient) passages() []passage {
	var all []passage
	tun, own := tunnel.DefaultInterface, stranger.Next()
	switch {
	case p.plan.Tunnel == nil: // native IPv6
		var ok bool
		if tun, own, ok = towards(somewhere); !ok {
			return nil
		}
	case p.plan.Tunnel.Interface != "":
		tun = p.plan.Tunnel.Interface
	}
	if p.tunnel != nil {
		own = p.tunnel.Address
	}
	if p.plan.Tunnel != nil {
		all = append(all, p.outer()...)
	}
	in := firewall.Packet{Hook: firewall.Input, In: tun, Src: stranger, Dst: own, SrcPort: 50000}
	for _, proto := range []string{"tcp", "udp"} {
		ports := p.wantedPorts(proto)
		for _, port := range ports {
			one := in
			one.Proto, one.DstPort = map[string]uint8{"tcp": 6, "udp": 17}[proto], port
			way := passage{packet: one, what: fmt.Sprintf("new connections to our %s port %d", proto, port), v6: true,
				why:   "Clients of IPv6 wait in vain.",
				match: fmt.Sprintf("meta nfproto ipv6 %s dport %d", proto, port), iptables: fmt.Sprintf("-p %s --dport %d", proto, port), ufw: fmt.Sprintf("ufw allow %d/%s", port, proto)}
			if p.plan.Tunnel != nil {
				// The same port of this host's IPv4, often its own sshd, stays shut.
				way.match = fmt.Sprintf("iifname %s %s dport %d", tun, proto, port)
				way.iptables = fmt.Sprintf("-i %s -p %s --dport %d", tun, proto, port)
				way.ufw = fmt.Sprintf("ufw allow in on %s to any port %d proto %s", tun, port, proto)
			}
			all = append(all, way)
		}
	}
	tooBig := in
	tooBig.Proto, tooBig.Type, tooBig.State = 58, 2, firewall.Related
	return append(all,
		passage{packet: tooBig, what: "ICMPv6 packet-too-big", v6: true,
			why:   "Behind a narrow link pages begin to load and hang (RFC 4890 §4.3.1: it must not be dropped).",
			match: "icmpv6 type packet-too-big", iptables: "-p icmpv6 --icmpv6-type packet-too-big"},
		answersBy(tun, own))
}

// answersBy are our answers to clients.
func answersBy(link string, own netip.Addr) passage {
	return passage{packet: firewall.Packet{Hook: firewall.Output, Out: link, Src: own, Dst: stranger, Proto: 6, SrcPort: 80, DstPort: 50000, State: firewall.Established},
		what: "our answers over IPv6", v6: true,
		why:   "Clients' packets arrive, and no answer leaves (\"Operation not permitted\").",
		match: "oifname " + link, iptables: "-o " + link, ufw: "ufw default allow outgoing"}
}

// outer are the tunnel's own packets. eBPF and packet sockets receive before these rules; what asks the relay whether it
// is alive obeys them in all.
func (p *patient) outer() []passage {
	cfg := p.tunnelConfig()
	uplink, local, ok := towards(otherEnd(cfg))
	if !ok {
		return nil
	}
	relay := otherEnd(cfg)
	way := passage{what: "protocol 41 from the relay", why: "Protocol 41 is the tunnel: no IPv6 packet arrives.",
		packet: firewall.Packet{Hook: firewall.Input, In: uplink, Src: relay, Dst: local, Proto: 41},
		match:  "ip saddr " + relay.String() + " ip protocol 41", iptables: "-p 41 -s " + relay.String(), ufw: "ufw allow proto ipv6 from " + relay.String()}
	back := way
	back.packet = firewall.Packet{Hook: firewall.Output, Out: uplink, Src: local, Dst: relay, Proto: 41}
	back.what, back.why = "protocol 41 to the relay", "Protocol 41 is the tunnel: no IPv6 packet leaves."
	back.match, back.iptables, back.ufw = "ip daddr "+relay.String()+" ip protocol 41", "-p 41 -d "+relay.String(), ""
	if p.tunnel != nil && p.tunnel.Datapath != tunnel.DatapathKernel {
		return []passage{back}
	}
	return []passage{way, back}
}

// blocked is the finding, with the command that opens just this.
func (w passage) blocked(v firewall.Verdict) diagnosis {
	how, hook := "a rule of the chain", "INPUT"
	if v.Policy {
		how = "the policy of the chain"
	}
	if w.packet.Hook == firewall.Output {
		hook = "OUTPUT"
	}
	parts := strings.Fields(v.Chain) // family, table, chain
	fix := fmt.Sprintf("nft insert rule %s %s accept", v.Chain, w.match)
	keep := " Write the rule into /etc/nftables.conf, too."
	switch {
	case ufwOn() && w.ufw != "":
		fix, keep = w.ufw, ""
	case parts[1] == "filter" && parts[2] == hook && parts[0] != "inet":
		tool := map[bool]string{true: "ip6tables", false: "iptables"}[w.v6]
		fix, keep = fmt.Sprintf("%s -I %s %s -j ACCEPT", tool, hook, w.iptables), " Keep it: netfilter-persistent save."
	}
	if v.Result == firewall.Unsure {
		return found("firewall", warn, "the chain %q drops %s, unless a rule lets them in that doctor cannot read", v.Chain, w.what).
			because(w.why+" Look yourself: nft list chain "+v.Chain+"."+keep, fix)
	}
	return found("firewall", w.severity, "%s %q drops %s", how, v.Chain, w.what).because(w.why+keep, fix)
}

// legacyTables says that there are rules of the old kind, which nftables does not show.
func legacyTables() []diagnosis {
	names, err := os.ReadFile("/proc/net/ip6_tables_names")
	if err != nil || len(strings.TrimSpace(string(names))) == 0 {
		return nil
	}
	return []diagnosis{found("firewall", warn, "there are rules of ip6tables-legacy besides, which doctor cannot read").
		because("They may drop IPv6, too. Look with ip6tables-legacy-save; the command moves them to where doctor reads.", "ip6tables-legacy-save | ip6tables-nft-restore --noflush && ip6tables-legacy -P INPUT ACCEPT && ip6tables-legacy -P OUTPUT ACCEPT && ip6tables-legacy -P FORWARD ACCEPT && ip6tables-legacy -F")}
}

// wantedPorts are the ports that clients of the tunnel come to, each once; of a range its ends.
func (p *patient) wantedPorts(network string) []uint16 {
	var ports []uint16
	for _, l := range p.plan.Listens() {
		if l.Network != network || l.Addr.Is4() {
			continue
		}
		for _, port := range []uint16{l.Port, max(l.Port, l.PortEnd)} {
			if !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	}
	if network == "udp" { // HTTP/3, where a site speaks TLS
		for _, s := range p.plan.Proxy.Sites {
			quic := !s.NoHTTP3 && (s.Cert != "" || s.CertSource != proxy.CertNone)
			for _, l := range s.Listen {
				if quic && l.Port == 443 && !l.Addr.Is4() && !slices.Contains(ports, l.Port) {
					ports = append(ports, l.Port)
				}
			}
		}
	}
	return ports
}

// ufwOn reports whether ufw is installed and switched on.
func ufwOn() bool {
	on, err := os.ReadFile("/etc/ufw/ufw.conf")
	return err == nil && setting(on, "ENABLED") == "yes"
}

// ufwWithoutIPv6 reports whether ufw is on and has not been told of IPv6: it then drops all of it.
func ufwWithoutIPv6() bool {
	defaults, err := os.ReadFile("/etc/default/ufw")
	return ufwOn() && err == nil && setting(defaults, "IPV6") == "no"
}

// setting reads KEY=value of a shell file.
func setting(text []byte, key string) string {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return strings.ToLower(strings.Trim(value, `"'`))
		}
	}
	return ""
}
