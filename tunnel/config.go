package tunnel

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"unicode"

	"genkan/tunnel/user"
)

// What the fields of Config may say. The empty string is the default of each.
const (
	Kind6RD  = "6rd"  // RFC 5969, the default
	Kind6in4 = "6in4" // RFC 4213, a configured tunnel to one remote

	RoleEdge  = "edge"  // a customer edge, the default
	RoleRelay = "relay" // a border relay: serves any number of edges

	DatapathAuto      = "auto"      // the first of the three that works here, the default
	DatapathKernel    = "kernel"    // Linux' sit device with its 6rd attributes
	DatapathEBPF      = "ebpf"      // two tc programs on a TUN device and the uplink
	DatapathUserspace = "userspace" // a TUN device and packet sockets

	ExposeListeners = "listeners" // what SetPorts names, replies, ICMPv6; the default
	ExposeAll       = "all"       // no filter on the tunnel interface
)

// MTUAuto as Config.MTU means: the IPv4 path MTU towards the relay minus 20,
// found by probing.
const MTUAuto = -1

// DefaultInterface is the name of the tunnel interface where none is given.
const DefaultInterface = "tun6rd"

// DefaultStateDir is where Up writes down what it made.
const DefaultStateDir = "/run/genkan"

// A Config says which tunnel to bring up. The zero Config is refused by Up.
type Config struct {
	// Kind is Kind6RD ("" too) or Kind6in4.
	Kind string
	// Role is RoleEdge ("" too) or RoleRelay.
	Role string

	// Prefix is the 6rd prefix of the provider (RFC 5969 §7.1.1), e.g.
	// 2001:e41::/32. Only for Kind6RD.
	Prefix netip.Prefix
	// IPv4MaskLen is the number of leading IPv4 bits that the whole domain
	// shares and leaves out of the delegated prefixes, 0 to 32.
	IPv4MaskLen int
	// IPv4Common is, for a relay whose own IPv4 address is of another network,
	// the prefix of IPv4MaskLen bits that its edges share. Zero: that of Local.
	IPv4Common netip.Prefix
	// Relays are the border relays' IPv4 addresses. An edge needs at least
	// one: packets to the IPv6 Internet go to the first, and packets from it
	// are accepted from all. A relay lists the other relays of its domain.
	Relays []netip.Addr

	// DHCP says that Prefix, IPv4MaskLen and Relays are those that the provider
	// gives by DHCPv4, option 212 (RFC 5969 §7.1.1), and are followed when they
	// change. They must not be set then. Only for Kind6RD and RoleEdge.
	DHCP bool

	// Remote is the IPv4 address of the other end. Only for Kind6in4.
	Remote netip.Addr
	// Address is our IPv6 address with the length of the link's prefix. Only
	// for Kind6in4, 6rd computes it; and for a relay outside of IPv4Common.
	Address netip.Prefix
	// Routed are prefixes that a tunnel broker routes to us besides Address's.
	// Only for Kind6in4; may be empty.
	Routed []netip.Prefix

	// Local is our IPv4 address. The zero Addr takes the source address of
	// the route towards the first relay and follows it when it changes; the
	// relay role must name it.
	Local netip.Addr
	// MTU of the tunnel interface in bytes, 1280 to 65515. 0 means 1280
	// (RFC 5969 §9.1), MTUAuto probes.
	MTU int
	// TTL of the outer packets, 1 to 255. 0 means 64.
	TTL int
	// Anycast says that Local is an anycast address of several relays: DF is
	// then always set (RFC 5969 §9.2). Only for RoleRelay.
	Anycast bool

	// Interface is the name of the tunnel interface; "" means tun6rd.
	Interface string
	// Datapath is DatapathAuto ("" too), DatapathKernel, DatapathEBPF or
	// DatapathUserspace. One that is named and cannot work here is an error.
	Datapath string
	// Expose is ExposeListeners ("" too) or ExposeAll.
	Expose string
	// Ports are what expose = "listeners" admits until the first SetPorts. Nil:
	// nothing.
	Ports []Port
	// Replace allows Up to delete a foreign interface of the same name, and
	// to put the default route before one that exists (which stays, and
	// stands again after Close).
	Replace bool
	// Inherited are the descriptors that Tunnel.Files has given in another
	// process. Up takes over what it can use and closes the others.
	Inherited user.Files
	// StateDir holds one file a tunnel interface; "" means /run/genkan.
	StateDir string
	// Log gets one line an event; nil discards.
	Log *slog.Logger
}

// withDefaults returns c with the defaults written out.
func (c Config) withDefaults() Config {
	c.Kind = orDefault(c.Kind, Kind6RD)
	c.Role = orDefault(c.Role, RoleEdge)
	c.Datapath = orDefault(c.Datapath, DatapathAuto)
	c.Expose = orDefault(c.Expose, ExposeListeners)
	c.Interface = orDefault(c.Interface, DefaultInterface)
	c.StateDir = orDefault(c.StateDir, DefaultStateDir)
	if c.TTL == 0 {
		c.TTL = 64
	}
	if c.MTU == 0 {
		c.MTU = minMTU
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

const (
	minMTU = 1280         // RFC 8200 §5
	maxMTU = 65535 - 20   // an IPv4 packet's length field, less its header
	maxIf  = 15           // IFNAMSIZ - 1
	badIf  = "/ \t\r\n:%" // the kernel refuses these, or tools misread them
)

// Validate reports every mistake in c that can be seen without touching the
// host, joined. A nil error does not promise that Up succeeds.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("tunnel: "+format, a...)) }
	oneOf := func(key, got string, want ...string) {
		for _, w := range want {
			if got == w {
				return
			}
		}
		bad("%s %q: unknown; write %s", key, got, quoteList(want))
	}
	oneOf("kind", c.Kind, Kind6RD, Kind6in4)
	oneOf("role", c.Role, RoleEdge, RoleRelay)
	oneOf("datapath", c.Datapath, DatapathAuto, DatapathKernel, DatapathEBPF, DatapathUserspace)
	oneOf("expose", c.Expose, ExposeListeners, ExposeAll)
	if c.MTU != MTUAuto && (c.MTU < minMTU || c.MTU > maxMTU) {
		bad("mtu %d: outside 1280 to 65515", c.MTU)
	}
	if c.TTL < 1 || c.TTL > 255 {
		bad("ttl %d: outside 1 to 255", c.TTL)
	}
	if err := CheckInterface(c.Interface); err != nil {
		bad("%w", err)
	}
	if c.Local.IsValid() && !unicast4(c.Local) {
		bad("local %q: not a unicast IPv4 address", c.Local)
	}
	for _, r := range c.Relays {
		if !unicast4(r) {
			bad("relay %q: not a unicast IPv4 address", r)
		}
	}
	if c.Role == RoleRelay && !c.Local.IsValid() {
		bad("role %q needs local, the relay's own IPv4 address", c.Role)
	}
	errs = append(errs, c.validateKind()...)
	return errors.Join(errs...)
}

// CheckInterface says what is wrong with the name of an interface; nil is
// nothing.
func CheckInterface(name string) error {
	if name == "" || len(name) > maxIf || strings.ContainsAny(name, badIf) || strings.ContainsFunc(name, unicode.IsControl) ||
		name == "." || name == ".." || name == "all" || name == "default" { // the last two are all interfaces to sysctl
		return fmt.Errorf("interface %q: not a name Linux accepts; at most 15 characters, without space, slash, colon or percent", name)
	}
	return nil
}

// validateKind reports what the kind of tunnel asks for.
func (c Config) validateKind() (errs []error) {
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("tunnel: "+format, a...)) }
	switch c.Kind {
	case Kind6RD:
		if c.DHCP {
			if c.Prefix.IsValid() || c.IPv4MaskLen != 0 || len(c.Relays) > 0 {
				bad("dhcp = true finds prefix, ipv4_mask_len and relays; leave those out, or dhcp")
			}
			if c.Role == RoleRelay {
				bad("role %q has no dhcp; write prefix and local", c.Role)
			}
			break
		}
		if len(c.Relays) == 0 && c.Role == RoleEdge {
			bad("no relays; write the provider's border relay, such as relays = [\"192.0.2.1\"]")
		}
		if err := c.domainOf(c.anyLocal()).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("tunnel: %w", err))
		}
		errs = append(errs, c.validateCommon()...)
	case Kind6in4:
		if c.DHCP {
			bad("kind %q has no dhcp; leave it out", c.Kind)
		}
		if c.Role == RoleRelay {
			bad("kind %q has no relay role", c.Kind)
		}
		if !unicast4(c.Remote) {
			bad("remote %q: not a unicast IPv4 address", c.Remote)
		}
		if !c.Address.IsValid() || !c.Address.Addr().Is6() || c.Address.Addr().Is4In6() {
			bad("address %q: not an IPv6 address with a prefix length, such as 2001:db8::2/64", c.Address)
		}
	}
	return errs
}

// anyLocal stands in for a local address that is not known yet.
func (c Config) anyLocal() netip.Addr {
	if !c.Local.IsValid() && len(c.Relays) > 0 {
		return c.Relays[0]
	}
	return c.Local
}

func unicast4(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && a.As4()[0] != 0 && a.As4()[0] < 224
}

func quoteList(words []string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", w)
	}
	return b.String()
}
