package proxy

import (
	"errors"
	"fmt"
	"net/netip"
)

// wildcard is e's port on all addresses of its family. The two exclude each
// other.
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
// it from being opened: the kernel lets none listen beside its wildcard. back opens them again. s.mu is held.
func (s *Server) makeWay(next *state) (back func() error) {
	narrow := map[endpoint]bool{} // wildcards of which next wants an address
	for e := range next.services {
		if all := e.wildcard(); e != all {
			narrow[all] = true
		}
	}
	var closed []endpoint
	for e, d := range s.doors {
		all := e.wildcard()
		if next.services[e] == nil && e.addr.Port() != 0 && (narrow[e] || e != all && next.services[all] != nil) {
			s.shut(d)
			delete(s.doors, e)
			closed = append(closed, e)
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
