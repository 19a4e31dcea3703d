package proxy

import (
	"errors"
	"log/slog"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// isLocal tells whether ip is an address of this machine, those of local
// routes (AnyIP) included. In doubt it is.
func isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	routes, err := netlink.RouteGet(ip.WithZone("").AsSlice())
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return false
	case err != nil || len(routes) == 0:
		return true
	}
	return routes[0].Type == unix.RTN_LOCAL
}

// noteAbsent logs which listeners wait for their address to come: that is
// allowed, and also what a typing error looks like.
func noteAbsent(log *slog.Logger, opened []*door) {
	for _, d := range opened {
		ip := d.endpoint.addr.Addr()
		if !ip.IsUnspecified() && !isLocal(ip) {
			log.Warn("listening on an address that this machine does not have yet", "listener", d.endpoint.String())
		}
	}
}

// interfaceIndex looks an interface up by any socket: each time, as it may
// have been made anew under its name.
func interfaceIndex(fd int, name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

// isTunnel tells whether an interface index is the tunnel's.
func (st *state) isTunnel(index int) bool {
	if st.config.TunnelInterface == "" {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	tunnel, err := interfaceIndex(fd, st.config.TunnelInterface)
	return err == nil && tunnel == index
}
