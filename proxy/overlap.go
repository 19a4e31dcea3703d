package proxy

import (
	"errors"
	"fmt"
	"net/netip"
)

// overlaps tells whether two sockets exclude each other: one is on an address,
// the other on the wildcard of its family. The same endpoint is one socket.
func (e endpoint) overlaps(other endpoint) bool {
	a, b := e.addr.Addr(), other.addr.Addr()
	return e != other && e.network == other.network && e.addr.Port() == other.addr.Port() && e.addr.Port() != 0 &&
		a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// wildcard is e's port on all addresses of its family.
func (e endpoint) wildcard() endpoint {
	all := netip.IPv6Unspecified()
	if e.addr.Addr().Is4() {
		all = netip.IPv4Unspecified()
	}
	return endpoint{e.network, netip.AddrPortFrom(all, e.addr.Port())}
}

// checkOverlaps refuses listeners that the kernel would refuse, by name.
func (st *state) checkOverlaps(errs *faults) {
	for e, svc := range st.services {
		if e.addr.Addr().IsUnspecified() {
			continue
		}
		if other := st.services[e.wildcard()]; other != nil && e.addr.Port() != 0 {
			errs.add("", fmt.Errorf("listen %q: %q has that port on all addresses; write one of them", svc.listen, other.listen))
		}
	}
}

// makeWay closes the doors that next does not have and that keep a new one of
// it from being opened. back opens them again. s.mu is held.
func (s *Server) makeWay(next *state) (back func() error) {
	var closed []endpoint
	for e, d := range s.doors {
		if next.services[e] != nil {
			continue
		}
		for wanted := range next.services {
			if s.doors[wanted] == nil && wanted.overlaps(e) {
				s.shut(d)
				delete(s.doors, e)
				closed = append(closed, e)
				break
			}
		}
	}
	return func() error {
		var errs []error
		for _, e := range closed {
			d, err := openDoor(e)
			if err != nil {
				errs = append(errs, fmt.Errorf("listener %s: not open again: %w", e, err))
				continue
			}
			s.doors[e] = d
			if s.serving != nil {
				s.run(d)
			}
		}
		return errors.Join(errs...)
	}
}
