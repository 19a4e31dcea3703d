package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A lookupFunc asks for the A records of a name. It gives how long the answer
// holds; zero when the resolver does not tell.
type lookupFunc func(ctx context.Context, name string) ([]netip.Addr, time.Duration, error)

// How often a name is asked for: when its TTL ends, within these bounds.
const (
	minTTL       = 5 * time.Second
	maxTTL       = 10 * time.Minute
	retryTTL     = 2 * time.Second // after a failure
	lookupWithin = 5 * time.Second
)

// resolve keeps the addresses of m fresh. A failure keeps the last good ones,
// for as long as it lasts, and is logged when it begins and when it ends.
func (g *group) resolve(ctx context.Context, m *member, name string, lookup lookupFunc) {
	failing := false
	for {
		wait := retryTTL
		addrs, ttl, err := lookupA(ctx, name, lookup)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			failing = true
			g.log.Warn("backend name not resolved", "backend", m.text, "cause", err, "keeping", m.known())
		case err == nil:
			if old := m.addrs.Swap(&addrs); failing || old == nil || !slices.Equal(*old, addrs) {
				g.log.Info("backend name resolved", "backend", m.text, "addresses", addrs, "ttl", ttl)
			}
			failing = false
			wait = min(max(ttl, minTTL), maxTTL)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (m *member) known() []netip.Addr {
	if addrs := m.addrs.Load(); addrs != nil {
		return *addrs
	}
	return nil
}

// lookupA asks once. An answer without an IPv4 address is a failure.
func lookupA(ctx context.Context, name string, lookup lookupFunc) ([]netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupWithin)
	defer cancel()
	addrs, ttl, err := lookup(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	var v4 []netip.Addr
	for _, addr := range addrs {
		if addr.Is4() {
			v4 = append(v4, addr)
		}
	}
	if len(v4) == 0 {
		return nil, 0, fmt.Errorf("%q has no A record", name)
	}
	slices.SortFunc(v4, netip.Addr.Compare)
	return v4, ttl, nil
}
