package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel/bpf"
	"genkan/tunnel/filter"
)

// The operations of a step.
const (
	opLink    = "link"    // the tunnel interface
	opUp      = "up"      // its MTU and flags
	opSysctl  = "sysctl"  // one value under /proc/sys
	opAddress = "address" // an IPv6 address on the interface
	opRoute   = "route"   // an IPv6 route
	opFilter  = "filter"  // our nftables tables
)

// A step is one thing that Up does to the host and Close undoes. Steps are
// plain values: the state file lists those done, two plans are compared by
// them, and a dry run prints them.
type step struct {
	Op   string `json:"op"`
	Link string `json:"link"` // the interface

	// Params of a link: its kind and all that it is made of, so that a
	// changed one is another link. Of the filter: likewise.
	Params string `json:"params,omitempty"`

	Key   string `json:"key,omitempty"`   // sysctl: below /proc/sys
	Value string `json:"value,omitempty"` // sysctl: new
	Old   string `json:"old,omitempty"`   // sysctl: to be restored; "" where it goes with the interface

	Dst    netip.Prefix `json:"dst,omitzero"` // address or route
	Via    netip.Addr   `json:"via,omitzero"` // route: gateway
	Metric int          `json:"metric,omitempty"`
	Reject bool         `json:"reject,omitempty"` // route: unreachable
}

// same reports whether t is the same change to the host.
func (s step) same(t step) bool {
	s.Old, t.Old = "", ""
	return s == t
}

// String is the step in the words of ip(8), sysctl(8) and nft(8).
func (s step) String() string {
	switch s.Op {
	case opLink:
		return fmt.Sprintf("ip link add %s %s", s.Link, s.Params)
	case opUp:
		return fmt.Sprintf("ip link set %s up %s", s.Link, s.Params)
	case opSysctl:
		return fmt.Sprintf("sysctl -w %s=%s", strings.ReplaceAll(s.Key, "/", "."), s.Value)
	case opAddress:
		return fmt.Sprintf("ip -6 addr add %s dev %s nodad", s.Dst, s.Link)
	case opFilter:
		return fmt.Sprintf("nft table ip6 %s: %s", filter.TableName(s.Link), s.Params)
	case opRoute:
		var b strings.Builder
		b.WriteString("ip -6 route add ")
		if s.Reject {
			b.WriteString("unreachable ")
		}
		b.WriteString(s.Dst.String())
		if s.Via.IsValid() {
			fmt.Fprintf(&b, " via %s", s.Via)
		}
		if !s.Reject {
			fmt.Fprintf(&b, " dev %s", s.Link)
		}
		fmt.Fprintf(&b, " metric %d", s.Metric)
		return b.String()
	}
	return s.Op
}

// do makes the change. What stands already, as it does after a crash, is fine.
// Links and filters are made by their own code.
func (s *step) do() error {
	var err error
	switch s.Op {
	case opUp:
		err = s.setUp()
	case opSysctl:
		err = s.setSysctl()
	case opAddress:
		var link netlink.Link
		if link, err = netlink.LinkByName(s.Link); err == nil {
			err = netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(s.Dst), Flags: unix.IFA_F_NODAD})
		}
		if errors.Is(err, unix.EACCES) { // no lack of a capability
			return fmt.Errorf("tunnel: %s: IPv6 is switched off on %s; write sysctl -w net.ipv6.conf.%s.disable_ipv6=0", s, s.Link, s.Link)
		}
		if err == nil {
			err = s.awaitLocalRoute()
		}
	case opRoute:
		var r *netlink.Route
		if r, err = s.route(); err == nil {
			err = netlink.RouteAdd(r)
			if ours, _ := s.isOurs(r); errors.Is(err, unix.EEXIST) && ours {
				err = nil
			} else if errors.Is(err, unix.EEXIST) {
				err = fmt.Errorf("%w, and is not ours; see whose it is by ip -6 route show %s, and remove it, or take down the tunnel that has made it", err, s.Dst)
			}
		}
	}
	return explain(s.String(), capAdmin, err)
}

// undo takes the change back. What is gone already is fine.
func (s *step) undo() error {
	var err error
	switch s.Op {
	case opLink:
		if err = s.removePrograms(); err == nil {
			err = s.deleteLink()
		}
	case opSysctl:
		if s.Old != "" {
			err = os.WriteFile("/proc/sys/"+s.Key, []byte(s.Old), 0)
		}
	case opAddress:
		var link netlink.Link
		if link, err = netlink.LinkByName(s.Link); err == nil {
			err = netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(s.Dst)})
		}
	case opRoute:
		var r *netlink.Route
		if r, err = s.route(); err == nil {
			err = netlink.RouteDel(r)
		}
	case opFilter:
		err = filter.Remove(s.Link)
	}
	if isGone(err) {
		return nil
	}
	return explain("undo: "+s.String(), capAdmin, err)
}

func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, os.ErrNotExist) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// awaitLocalRoute waits until packets to the address are for us: the kernel
// adds that route a moment after the address, without DAD too.
func (s *step) awaitLocalRoute() error {
	const patience = 5 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		routes, err := netlink.RouteGet(s.Dst.Addr().AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not usable after %v", patience)
		}
	}
}

// setUp sets the MTU, which a step for another MTU has undone or never made,
// and the link up.
func (s *step) setUp() error {
	var mtu int
	if _, err := fmt.Sscanf(s.Params, "mtu %d", &mtu); err != nil {
		return err
	}
	link, err := netlink.LinkByName(s.Link)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return dropCompatible(link)
}

// dropCompatible takes the address ::LOCAL/96 back that sit gives itself when
// it comes up: nobody shall reach us by an address that the checks do not know.
func dropCompatible(link netlink.Link) error {
	if link.Type() != "sit" {
		return nil
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return err
	}
	compatible := netip.MustParsePrefix("::/96")
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && compatible.Contains(ip) {
			if err := netlink.AddrDel(link, &a); err != nil {
				return err
			}
		}
	}
	return nil
}

// setSysctl writes the value. Containers often may not write any: what only
// spares useless packets is then left as it is.
func (s *step) setSysctl() error {
	path := "/proc/sys/" + s.Key
	old, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && s.needed() {
		return fmt.Errorf("%w; IPv6 is switched off in this kernel (ipv6.disable=1), or /proc/sys is not mounted", err)
	}
	was := strings.TrimSpace(string(old))
	if err == nil && was == s.Value {
		return nil
	}
	if s.Old == "" && !strings.Contains(s.Key, "/"+s.Link+"/") {
		s.Old = was
	}
	if err == nil {
		err = os.WriteFile(path, []byte(s.Value), 0)
	}
	if err != nil && s.needed() {
		return fmt.Errorf("%w; where /proc/sys is read-only, start the container with --sysctl %s=%s",
			err, strings.ReplaceAll(strings.Replace(s.Key, "/"+s.Link+"/", "/default/", 1), "/", "."), s.Value)
	}
	return nil
}

// needed reports whether the tunnel cannot work without the sysctl. Router
// advertisements are dropped by the checks, too.
func (s *step) needed() bool {
	return strings.HasSuffix(s.Key, "/disable_ipv6") || strings.HasSuffix(s.Key, "/forwarding")
}

// removePrograms removes what a former process may have left pinned.
func (s *step) removePrograms() error {
	if _, dir, ok := strings.Cut(s.Params, programs+pinnedIn); ok && dir != "" {
		return bpf.Remove(dir)
	}
	return nil
}

func (s *step) deleteLink() error {
	link, err := netlink.LinkByName(s.Link)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// routeProto marks the routes that are ours (/etc/iproute2/rt_protos has no
// name for it).
const routeProto = 61

func (s *step) route() (*netlink.Route, error) {
	r := &netlink.Route{Dst: ipNet(s.Dst), Priority: s.Metric, Protocol: routeProto, Family: netlink.FAMILY_V6}
	if s.Reject {
		r.Type = unix.RTN_UNREACHABLE
		return r, nil
	}
	link, err := netlink.LinkByName(s.Link)
	if err != nil {
		return nil, err
	}
	r.LinkIndex = link.Attrs().Index
	if s.Via.IsValid() {
		r.Gw = s.Via.AsSlice()
		r.Flags = int(netlink.FLAG_ONLINK)
	}
	return r, nil
}

// isOurs reports whether the route that stands for the same destination is
// this one.
func (s *step) isOurs(r *netlink.Route) (bool, error) {
	list, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Dst: r.Dst, Protocol: routeProto},
		netlink.RT_FILTER_DST|netlink.RT_FILTER_PROTOCOL)
	return slices.ContainsFunc(list, func(have netlink.Route) bool {
		return have.Priority == s.Metric && (s.Reject || have.LinkIndex == r.LinkIndex)
	}), err
}
