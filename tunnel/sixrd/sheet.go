package sixrd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Request says for whom Describe writes.
type Request struct {
	Domain    Domain
	IPv4      netip.Addr // of the customer edge
	Interface string     // name of the tunnel interface; "": tun6rd
	Host      string     // owner of the AAAA record; "": @, the zone itself
	MTU       int        // of the tunnel in bytes; 0: 1280 (RFC 5969 §9.1)
	TTL       int        // of the outer packets; 0: 64
}

// A Sheet is everything that one may want to know about an edge of a 6rd
// domain, and the same tunnel in the words of other tools.
type Sheet struct {
	IPv4      netip.Addr   `json:"ipv4"`
	Address   netip.Addr   `json:"address"`
	Delegated netip.Prefix `json:"delegated"`

	AAAA  string   `json:"aaaa"`  // a line for a zone file
	Arpa  string   `json:"arpa"`  // the address's name in ip6.arpa, with the final dot
	Zones []string `json:"zones"` // the ip6.arpa zones that make up the delegated prefix

	Commands   string `json:"commands"`   // ip(8)
	Interfaces string `json:"interfaces"` // a paragraph for /etc/network/interfaces
	Netdev     string `json:"netdev"`     // /etc/systemd/network/NAME.netdev
	Network    string `json:"network"`    // /etc/systemd/network/NAME.network
}

// Describe computes the sheet of one customer edge. Without a relay in the
// domain the texts have no default route.
func Describe(r Request) (Sheet, error) {
	if err := r.validate(); err != nil {
		return Sheet{}, err
	}
	addr, err := r.Domain.Address(r.IPv4)
	if err != nil {
		return Sheet{}, err
	}
	del, err := r.Domain.Delegated(r.IPv4)
	if err != nil {
		return Sheet{}, err
	}
	if r.Interface == "" {
		r.Interface = "tun6rd"
	}
	if r.Host == "" {
		r.Host = "@"
	}
	if r.MTU == 0 {
		r.MTU = minMTU
	}
	if r.TTL == 0 {
		r.TTL = 64
	}
	onLink := netip.PrefixFrom(addr, r.Domain.Prefix.Bits())
	return Sheet{
		IPv4:       r.IPv4,
		Address:    addr,
		Delegated:  del,
		AAAA:       fmt.Sprintf("%s IN AAAA %s", r.Host, addr),
		Arpa:       arpa(addr, 128),
		Zones:      zones(del),
		Commands:   strings.Join(append(r.setUp(), r.addresses(onLink)...), "\n") + "\n",
		Interfaces: r.interfaces(onLink),
		Netdev:     r.netdev(),
		Network:    r.network(onLink),
	}, nil
}

// validate refuses what no kernel would take, or take to no use.
func (r Request) validate() error {
	switch {
	case r.IPv4.Is4() && !unicast(r.IPv4):
		return fmt.Errorf("sixrd: IPv4 address %q is no host's; write the customer edge's own", r.IPv4)
	case slices.Contains(r.Domain.Relays, r.IPv4):
		return fmt.Errorf("sixrd: relay %q is the customer edge's own address; write the provider's border relay", r.IPv4)
	case r.MTU != 0 && (r.MTU < minMTU || r.MTU > maxMTU):
		return fmt.Errorf("sixrd: mtu %d; write %d to %d", r.MTU, minMTU, maxMTU)
	}
	return nil
}

const (
	minMTU = 1280       // RFC 8200 §5
	maxMTU = 65535 - 20 // an IPv4 packet less its header
)

// setUp is how iproute2 makes the interface.
func (r Request) setUp() []string {
	sixrd := fmt.Sprintf("ip tunnel 6rd dev %s 6rd-prefix %s", r.Interface, r.Domain.Prefix)
	if r.Domain.IPv4MaskLen > 0 {
		sixrd += fmt.Sprintf(" 6rd-relay_prefix %s", r.Domain.common())
	}
	return []string{
		fmt.Sprintf("ip tunnel add %s mode sit local %s ttl %d", r.Interface, r.IPv4, r.TTL),
		sixrd,
	}
}

// addresses is how iproute2 puts it to use. The kernel takes the relay as an
// IPv4-compatible next hop.
func (r Request) addresses(onLink netip.Prefix) []string {
	lines := []string{
		fmt.Sprintf("ip link set %s mtu %d up", r.Interface, r.MTU),
		fmt.Sprintf("ip -6 address add %s dev %s", onLink, r.Interface),
	}
	if relay := r.relay(); relay != "" {
		lines = append(lines, fmt.Sprintf("ip -6 route add default via %s dev %s", relay, r.Interface))
	}
	return lines
}

func (r Request) interfaces(onLink netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "auto %s\niface %s inet6 manual\n", r.Interface, r.Interface)
	for _, l := range r.setUp() {
		fmt.Fprintf(&b, "    pre-up %s\n", l)
	}
	for _, l := range r.addresses(onLink) {
		fmt.Fprintf(&b, "    up %s\n", l)
	}
	fmt.Fprintf(&b, "    post-down ip tunnel del %s\n", r.Interface)
	return b.String()
}

func (r Request) netdev() string {
	var b strings.Builder
	if r.Domain.IPv4MaskLen > 0 {
		fmt.Fprintf(&b, "# systemd-networkd cannot say IPv4MaskLen %d here: this file does not work.\n"+
			"# Use /etc/network/interfaces, the ip commands or genkan instead.\n", r.Domain.IPv4MaskLen)
	}
	fmt.Fprintf(&b, "[NetDev]\nName=%s\nKind=sit\nMTUBytes=%d\n\n", r.Interface, r.MTU)
	fmt.Fprintf(&b, "[Tunnel]\nIndependent=yes\nLocal=%s\nTTL=%d\nIPv6RapidDeploymentPrefix=%s\n", r.IPv4, r.TTL, r.Domain.Prefix)
	return b.String()
}

func (r Request) network(onLink netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Match]\nName=%s\n\n", r.Interface)
	fmt.Fprintf(&b, "[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nAddress=%s\n", onLink)
	if relay := r.relay(); relay != "" {
		fmt.Fprintf(&b, "\n[Route]\nGateway=%s\n", relay)
	}
	return b.String()
}

// relay is the first relay as the IPv4-compatible next hop, or "".
func (r Request) relay() string {
	if len(r.Domain.Relays) == 0 {
		return ""
	}
	return "::" + r.Domain.Relays[0].String()
}

// arpa is the name of the first bits of ip in ip6.arpa (RFC 3596 §2.5); bits is
// a multiple of 4.
func arpa(ip netip.Addr, bits int) string {
	var b strings.Builder
	a := ip.As16()
	for i := bits/4 - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "%x.", a[i/2]>>(4*(1-i%2))&15)
	}
	return b.String() + "ip6.arpa."
}

// zones are the fewest ip6.arpa zones that are p together: one where p ends on
// a nibble, else two, four or eight.
func zones(p netip.Prefix) []string {
	bits := (p.Bits() + 3) / 4 * 4
	var out []string
	for i := range uint64(1) << (bits - p.Bits()) {
		out = append(out, arpa(v6(hi(p.Addr())|i<<(64-bits), 0), bits))
	}
	return out
}
