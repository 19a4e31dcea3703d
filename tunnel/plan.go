package tunnel

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel/filter"
)

// defaultMetric is that of a route without a metric, as ip(8) makes it.
const defaultMetric = 1024

// steps returns what has to be made for a tunnel at s by a datapath, in order.
// The metric is that of a default route that we have made already, which is not
// refused for one that somebody made since; 0 where there is none.
func (s site) steps(datapath string, metric int) ([]step, error) {
	c, p, name := s.cfg, s.place, s.cfg.Interface
	conf := func(key, value string) step {
		return step{Op: opSysctl, Link: name, Key: "net/ipv6/conf/" + name + "/" + key, Value: value}
	}
	steps := []step{
		{Op: opLink, Link: name, Params: linkParams(datapath, s)},
		// A router advertisement through the tunnel is an attack (RFC 4891 §4).
		conf("disable_ipv6", "0"), conf("accept_ra", "0"), conf("autoconf", "0"),
		// No link-local address: a 6rd link has no neighbours to talk to.
		conf("addr_gen_mode", "1"), conf("router_solicitations", "0"),
	}
	if c.Role == RoleRelay {
		steps = append(steps, step{Op: opSysctl, Link: name, Key: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
	bits := 128
	if c.Kind == Kind6in4 {
		bits = c.Address.Bits()
	}
	steps = append(steps,
		step{Op: opFilter, Link: name, Params: c.filterParams(p, datapath)}, // before anything can come in
		step{Op: opUp, Link: name, Params: fmt.Sprintf("mtu %d", s.mtu)},
		step{Op: opAddress, Link: name, Dst: netip.PrefixFrom(p.Address, bits)})
	if c.Kind == Kind6RD {
		steps = append(steps, step{Op: opRoute, Link: name, Dst: c.Prefix.Masked(), Metric: defaultMetric})
	}
	if c.Kind == Kind6RD && p.Delegated.IsValid() {
		// What is in our prefix, but in no network of ours, must not leave by the
		// default route and come back until its hop limit ends it.
		steps = append(steps, step{Op: opRoute, Link: name, Dst: p.Delegated, Metric: math.MaxInt32, Reject: true})
	}
	for _, r := range c.Routed {
		steps = append(steps, step{Op: opRoute, Link: name, Dst: r.Masked(), Metric: math.MaxInt32, Reject: true})
	}
	if c.Role == RoleEdge {
		if metric == 0 {
			var err error
			if metric, err = c.defaultRouteMetric(); err != nil {
				return nil, err
			}
		}
		steps = append(steps, step{Op: opRoute, Link: name, Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0),
			Via: defaultVia(datapath, s), Metric: metric})
	}
	return steps, nil
}

// defaultRouteMetric refuses a host that has an IPv6 default route, or finds
// the metric that comes before it.
func (c Config) defaultRouteMetric() (int, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{}, 0)
	if err != nil {
		return 0, explain("read IPv6 routes", capAdmin, err)
	}
	metric := defaultMetric
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		dev := linkName(r)
		if dev == c.Interface || r.Protocol == routeProto || r.Type != unix.RTN_UNICAST {
			continue
		}
		if !c.Replace {
			return 0, fmt.Errorf("tunnel: an IPv6 default route exists (%s); it is not touched: remove it, or use --replace to put the tunnel before it", describe(r, dev))
		}
		if r.Priority <= 1 {
			return 0, fmt.Errorf("tunnel: an IPv6 default route exists (%s), and no metric comes before that one; remove it, or make it again with a larger metric", describe(r, dev))
		}
		if r.Priority <= metric {
			metric = r.Priority - 1
		}
	}
	return metric, nil
}

func linkName(r netlink.Route) string {
	index := r.LinkIndex
	if index == 0 && len(r.MultiPath) > 0 {
		index = r.MultiPath[0].LinkIndex
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Sprintf("interface %d", index)
	}
	return link.Attrs().Name
}

func describe(r netlink.Route, dev string) string {
	var b strings.Builder
	b.WriteString("default")
	if r.Gw != nil {
		fmt.Fprintf(&b, " via %s", r.Gw)
	}
	fmt.Fprintf(&b, " dev %s metric %d", dev, r.Priority)
	return b.String()
}

// replaceForeignLink deletes an interface of our name that is not ours, where
// it may.
func (c Config) replaceForeignLink() error {
	link, err := c.namesake()
	if err != nil || link == nil {
		return err
	}
	return explain(fmt.Sprintf("delete %q", c.Interface), capAdmin, netlink.LinkDel(link))
}

// namesake is an interface of our name that is not ours and may be replaced;
// nil where there is none of our name.
func (c Config) namesake() (netlink.Link, error) {
	link, err := netlink.LinkByName(c.Interface)
	var notFound netlink.LinkNotFoundError
	if errors.As(err, &notFound) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(fmt.Sprintf("look for %q", c.Interface), capAdmin, err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	switch {
	case err != nil:
		return nil, explain(fmt.Sprintf("look at %q", c.Interface), capAdmin, err)
	case len(addrs) > 0: // the operator may have come by it
		return nil, fmt.Errorf("tunnel: the interface %q (%s) has the IPv4 address %s; such a one is never replaced: choose another name", c.Interface, link.Type(), addrs[0].IP)
	case carries(link) != "": // neither has one below a bridge, a bond or a VLAN
		return nil, fmt.Errorf("tunnel: the interface %q (%s) carries %q; such a one is never replaced: choose another name", c.Interface, link.Type(), carries(link))
	case !c.Replace:
		return nil, fmt.Errorf("tunnel: an interface %q exists (%s) and is not ours; it is not touched: choose another name, or use --replace to delete it", c.Interface, link.Type())
	}
	return link, nil
}

// carries is an interface that lives of link: its bridge or bond, a VLAN on it,
// the other end of its cable; "" is none.
func carries(link netlink.Link) string {
	a := link.Attrs()
	if a.MasterIndex != 0 {
		master, err := netlink.LinkByIndex(a.MasterIndex)
		if err != nil {
			return fmt.Sprintf("interface %d", a.MasterIndex)
		}
		return master.Attrs().Name
	}
	links, err := netlink.LinkList()
	if err != nil {
		return ""
	}
	for _, l := range links {
		// One of another namespace has a number of there.
		if l.Attrs().ParentIndex == a.Index && l.Attrs().NetNsID < 0 {
			return l.Attrs().Name
		}
	}
	return ""
}

// filterConfig is what the nftables tables hold.
func (s site) filterConfig(datapath string, ports []Port) filter.Config {
	c := s.cfg
	fc := filter.Config{
		Interface: c.Interface,
		Listeners: c.Expose == ExposeListeners,
		Ports:     filterPorts(ports),
		Forward:   c.Role == RoleRelay,
	}
	if c.Kind == Kind6RD {
		fc.Domain = c.Prefix.Masked()
	}
	if datapath != DatapathKernel && handles41() {
		fc.Silent = s.place.Local
	}
	if datapath == DatapathKernel {
		fc.Kernel = &filter.Kernel{Local: s.place.Local, Strict: c.strictUplink(s.place) != 0, Relays: c.trusted(), Domain: fc.Domain, Rules: s.check.Rules(), Out: s.check.Outbound(), MTU: s.mtu, Split: s.mtu <= minMTU && !c.Anycast}
	}
	return fc
}

// trusted are the IPv4 addresses from which sources outside of the 6rd domain
// are believed.
func (c Config) trusted() []netip.Addr {
	switch {
	case c.Kind == Kind6in4:
		return []netip.Addr{c.Remote}
	case c.Role == RoleRelay:
		return nil
	}
	return c.Relays
}

// handles41 reports whether the kernel has a handler for protocol 41, which a
// sit device of anybody's brings with it: it answers what no device of its own
// takes.
func handles41() bool {
	_, err := os.Stat("/sys/module/tunnel4")
	return err == nil
}

func filterPorts(ports []Port) []filter.Port {
	out := make([]filter.Port, len(ports))
	for i, p := range ports {
		out[i] = filter.Port{UDP: p.Proto == "udp", First: p.First, Last: p.Last}
	}
	return out
}

// filterParams names what the tables depend on.
func (c Config) filterParams(p place, datapath string) string {
	what := "lets everything in"
	if c.Expose == ExposeListeners {
		what = "lets in our listeners' ports, ICMPv6 errors and echo, and replies"
	}
	switch {
	case datapath == DatapathKernel:
		return fmt.Sprintf("%s; checks in front of sit for %s", what, p.Local)
	case handles41():
		return fmt.Sprintf("%s; sends no port unreachable for %s", what, p.Local)
	}
	return what
}
