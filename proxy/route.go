package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks the routes that are ours (rtnetlink(7), rtm_protocol;
// free for programs from 5 on), so that a later start can adopt them.
const routeProtocol netlink.RouteProtocol = 103

// routeLocally makes all addresses of prefix this machine's own, by a route of
// type local ("AnyIP"), and gives what undoes it. A route that is there
// already stays; if an earlier run of ours left it, it is ours to remove.
func routeLocally(prefix netip.Prefix) (undo func() error, err error) {
	nothing := func() error { return nil }
	if prefix.Addr().IsLoopback() {
		return nothing, nil // 127.0.0.0/8 is local anyway
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find interface \"lo\": %w", err)
	}
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)},
		Table:     unix.RT_TABLE_LOCAL,
		Type:      unix.RTN_LOCAL,
		Scope:     netlink.SCOPE_HOST,
		Protocol:  routeProtocol,
	}
	there, err := netlink.RouteListFiltered(netlink.FAMILY_V4, route, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	remove := func() error {
		if err := netlink.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route \"local %s dev lo\": %w", prefix, err)
		}
		return nil
	}
	switch {
	case len(there) > 0 && there[0].Protocol == routeProtocol:
		return remove, nil
	case len(there) > 0:
		return nothing, nil
	}
	if err := netlink.RouteAdd(route); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (needs CAP_NET_ADMIN, or make it yourself: ip route add local %s dev lo)", err, prefix)
		}
		return nil, fmt.Errorf("add route \"local %s dev lo\": %w", prefix, err)
	}
	return remove, nil
}
