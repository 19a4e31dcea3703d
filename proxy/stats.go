package proxy

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"genkan/acl"
	"genkan/proxy/certs"
	"genkan/proxy/pool"
)

// Stats is a snapshot of what a Server has done since New.
type Stats struct {
	Open     int // client connections that are open now
	IPv4     FamilyStats
	IPv6     FamilyStats
	Services []ServiceStats // by kind, then name
	Backends []BackendStats
	Rules    []RuleStats  // by kind, then name, then as written; the default last
	Pools    []pool.Stats // by name
	Limits   []LimitStats
	// Certificates are by name.
	Certificates []certs.Status
	Logs         []LogStats // by destination
}

// FamilyStats counts client connections of one family.
type FamilyStats struct {
	Accepted int64
	Denied   int64 // connections, sessions and requests that rules refused
	Hostile  int64 // refused for a mapped source, or a PROXY header fault
}

// ServiceStats counts what one site or forward did. Unit: connections or UDP
// sessions of a forward, requests of a site.
type ServiceStats struct {
	Kind     string // "site" or "forward"
	Name     string
	Allowed  int64
	Denied   int64
	Shadowed int64 // would have been denied
	Failed   int64 // no backend could be reached
	Up, Down int64 // bytes of forwards
}

// BackendStats counts what one backend did.
type BackendStats struct {
	Kind, Name string // of the site or forward
	Backend    string
	Open       int64 // connections now
	Total      int64 // connections ever
	Failures   int64 // connects that failed
	Down       bool  // by active checks
}

// RuleStats counts what one rule has decided. In shadow mode it is what the rule
// would have done.
type RuleStats struct {
	Kind, Name string // of the site or forward
	acl.Tally
}

// counters is what Stats is made from. It is safe for concurrent use.
type counters struct {
	accepted [2]atomic.Int64 // IPv4, IPv6
	denied   [2]atomic.Int64
	hostile  [2]atomic.Int64

	mu       sync.Mutex // guards services
	services map[serviceKey]*serviceCounters
}

type serviceKey struct{ kind, name string }

type serviceCounters struct {
	allowed, denied, shadowed, failed, up, down atomic.Int64
}

func newCounters() *counters { return &counters{services: map[serviceKey]*serviceCounters{}} }

// of gives the counters of a site or forward, which go on over a reload.
func (c *counters) of(kind, name string) *serviceCounters {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := serviceKey{kind, name}
	if c.services[key] == nil {
		c.services[key] = &serviceCounters{}
	}
	return c.services[key]
}

func (c *counters) family(i int) FamilyStats {
	return FamilyStats{c.accepted[i].Load(), c.denied[i].Load(), c.hostile[i].Load()}
}

func family(a acl.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// Stats gives the present counters. Those of a site, forward or rule that a
// reload took away are gone; equal rules go on.
func (s *Server) Stats() Stats {
	st := s.state.Load()
	s.mu.Lock()
	logs := s.logs.stats()
	s.mu.Unlock()
	stats := Stats{
		Logs: logs,
		Open: int(s.gate.open.Load()),
		IPv4: s.stats.family(0),
		IPv6: s.stats.family(1),

		Limits:       s.bites.stats(),
		Certificates: s.certificates(),
	}
	add := func(kind, name string, g gateway) {
		c := g.count
		stats.Services = append(stats.Services, ServiceStats{
			Kind: kind, Name: name,
			Allowed: c.allowed.Load(), Denied: c.denied.Load(), Shadowed: c.shadowed.Load(),
			Failed: c.failed.Load(), Up: c.up.Load(), Down: c.down.Load(),
		})
		for _, t := range g.access.Tallies() {
			stats.Rules = append(stats.Rules, RuleStats{kind, name, t})
		}
	}
	for name, one := range st.forwards {
		add("forward", name, one.gateway)
	}
	for name, one := range st.sites {
		add("site", name, one.gateway)
		for _, p := range one.parts {
			if p.access == one.access {
				continue
			}
			for _, t := range p.access.Tallies() {
				stats.Rules = append(stats.Rules, RuleStats{"site", name, t})
			}
		}
	}
	slices.SortFunc(stats.Services, func(a, b ServiceStats) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	slices.SortStableFunc(stats.Rules, func(a, b RuleStats) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	for _, g := range st.sortedGroups() {
		for _, m := range g.members {
			stats.Backends = append(stats.Backends, BackendStats{
				Kind: g.config.key, Name: g.config.name, Backend: m.text,
				Open: m.open.Load(), Total: m.total.Load(), Failures: m.failures.Load(), Down: m.isDown(),
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(st.pools)) {
		stats.Pools = append(stats.Pools, st.pools[name].Stats())
	}
	return stats
}
