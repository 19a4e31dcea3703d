package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/nftables"
)

// checkFirewall looks for rules of others that drop what is not named: the commonest reason for an IPv6 that is there
// and does not work.
func checkFirewall(_ context.Context, p *patient) []diagnosis {
	var all []diagnosis
	if ufwWithoutIPv6() {
		all = append(all, found("firewall", bad, "ufw is on with IPV6=no in /etc/default/ufw").
			because("It drops every IPv6 packet, in and out (\"Operation not permitted\").", "sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw && ufw reload"))
	}
	nft, err := nftables.New()
	if err != nil {
		return append(all, found("firewall", warn, "nftables cannot be asked: %v", err))
	}
	chains, err := nft.ListChains()
	if err != nil {
		return append(all, found("firewall", warn, "nftables cannot be asked: %v", err).because("", "run genkan doctor as root"))
	}
	for _, c := range chains {
		if d, drops := p.dropping(c); drops {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		all = append(all, found("firewall", fine, "no chain of nftables or ip6tables drops what it does not name"))
	}
	return all
}

// dropping judges one chain with policy drop.
func (p *patient) dropping(c *nftables.Chain) (diagnosis, bool) {
	if c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop || c.Hooknum == nil || strings.HasPrefix(c.Table.Name, "genkan_") {
		return diagnosis{}, false
	}
	v4 := c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyINet
	v6 := c.Table.Family == nftables.TableFamilyIPv6 || c.Table.Family == nftables.TableFamilyINet
	chain := fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
	switch hook := *c.Hooknum; {
	case hook == *nftables.ChainHookInput && (v4 || v6):
		var rules []string
		if v4 {
			rules = append(rules, fmt.Sprintf("nft insert rule %s meta protocol ip ip saddr %s ip protocol 41 accept", chain, otherEnd(*p.plan.Tunnel)))
		}
		if v6 {
			rules = append(rules, fmt.Sprintf("nft insert rule %s icmpv6 type { packet-too-big, destination-unreachable, time-exceeded, parameter-problem, echo-request } accept", chain))
			if ports := p.wantedPorts(); len(ports) > 0 {
				rules = append(rules, fmt.Sprintf("nft insert rule %s tcp dport { %s } accept", chain, strings.Join(ports, ", ")))
			}
		}
		return found("firewall", warn, "the chain %q drops what comes in and is not named", chain).
			because("It must name the tunnel, ICMPv6 errors (else large pages hang) and our ports; look with nft list chain "+chain+".", strings.Join(rules, "; ")), true
	case hook == *nftables.ChainHookOutput && v6:
		return found("firewall", warn, "the chain %q drops what goes out over IPv6 and is not named", chain).
			because("Answers to clients must be among what it names.", fmt.Sprintf("nft insert rule %s meta nfproto ipv6 accept", chain)), true
	}
	return diagnosis{}, false
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}
