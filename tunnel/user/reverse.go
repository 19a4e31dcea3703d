package user

import (
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	maxSources   = 1024
	sourceFresh  = time.Second
	lookupsEvery = time.Second // lookupBudget of them
	lookupBudget = 64
)

// A reverse knows by which interface IPv4 sources are reached, for packets that
// came by another interface than the uplink: from there, a container perhaps,
// come packets that only claim to be a relay's. It is the kernel's strict
// rp_filter, which packet sockets go past. It is not safe for concurrent use.
type reverse struct {
	nl     *netlink.Handle
	known  map[[4]byte]source
	budget int
	since  time.Time
}

type source struct {
	index int
	asked time.Time
}

// newReverse opens its netlink socket in the namespace of the calling thread.
func newReverse() (*reverse, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &reverse{nl: h, known: make(map[[4]byte]source)}, nil
}

func (r *reverse) close() { r.nl.Close() }

// by reports whether packets to src leave by the interface index. Where that
// would take too many lookups it says no.
func (r *reverse) by(index int, src [4]byte, now time.Time) bool {
	s, ok := r.known[src]
	if ok && now.Sub(s.asked) < sourceFresh {
		return s.index == index
	}
	if now.Sub(r.since) >= lookupsEvery {
		r.since, r.budget = now, lookupBudget
	}
	if r.budget == 0 {
		return false
	}
	r.budget--
	s = source{asked: now}
	if routes, err := r.nl.RouteGet(net.IP(src[:])); err == nil && len(routes) > 0 {
		s.index = routes[0].LinkIndex
	}
	for old := range r.known { // bounded: any other one is asked for again
		if len(r.known) < maxSources {
			break
		}
		delete(r.known, old)
	}
	r.known[src] = s
	return s.index == index
}
