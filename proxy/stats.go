package proxy

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"genkan/acl"
	"genkan/proxy/certs"
	"genkan/proxy/pool"
)

// Stats is a snapshot of what a Server has done since New.
type Stats struct {
	Open     int            `json:"open"` // client connections that are open now
	IPv4     FamilyStats    `json:"ipv4"`
	IPv6     FamilyStats    `json:"ipv6"`
	Services []ServiceStats `json:"services"` // by kind, then name
	Backends []BackendStats `json:"backends"`
	Rules    []RuleStats    `json:"rules"` // by kind, then name, then as written; the default last
	Pools    []pool.Stats   `json:"pools"` // by name
	Limits   []LimitStats   `json:"limits"`
	// Certificates are by name.
	Certificates []certs.Status `json:"certificates"`
	Logs         []LogStats     `json:"logs"` // by destination
}

// FamilyStats counts client connections of one family.
type FamilyStats struct {
	Accepted int64 `json:"accepted"`
	Denied   int64 `json:"denied"`  // connections, sessions and requests that rules refused
	Hostile  int64 `json:"hostile"` // refused for a mapped source, or a PROXY header fault
}

// ServiceStats counts what one site or forward did. Unit: connections or UDP
// sessions of a forward, requests of a site.
type ServiceStats struct {
	Kind     string `json:"kind"` // "site" or "forward"
	Name     string `json:"name"`
	Allowed  int64  `json:"allowed"`
	Denied   int64  `json:"denied"`
	Shadowed int64  `json:"shadowed"` // would have been denied
	Failed   int64  `json:"failed"`   // no backend could be reached
	Up       int64  `json:"up"`       // bytes to the backend, of forwards
	Down     int64  `json:"down"`     // bytes to the client, of forwards
	// Waited is how long backends took: a site's to begin an answer, a
	// forward's to take a TCP connection.
	Waited Histogram `json:"waited"`
}

// BackendStats counts what one backend did.
type BackendStats struct {
	BackendID
	Steering
	Open     int64 `json:"open"`     // connections now
	Total    int64 `json:"total"`    // connections ever
	Failures int64 `json:"failures"` // connects that failed
	Down     bool  `json:"down"`     // by active checks
	Ejected  bool  `json:"ejected"`  // by connects that failed, for a moment
}

// RuleStats counts what one rule has decided. In shadow mode it is what the rule
// would have done.
type RuleStats struct {
	Kind string `json:"kind"` // of the site or forward
	Name string `json:"name"`
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

	waited histogram
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
	st, now := s.state.Load(), time.Now()
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

		Services: []ServiceStats{}, Backends: []BackendStats{}, Rules: []RuleStats{}, Pools: []pool.Stats{}, // none is [] in JSON
	}
	add := func(kind, name string, g gateway) {
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
	stats.Services = st.counts()
	slices.SortStableFunc(stats.Rules, func(a, b RuleStats) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	for _, g := range st.sortedGroups() {
		for _, m := range g.members {
			stats.Backends = append(stats.Backends, BackendStats{
				BackendID: g.id(m), Steering: *m.steered.Load(),
				Open: m.open.Load(), Total: m.total.Load(), Failures: m.failures.Load(),
				Down: m.isDown(), Ejected: m.isEjected(now),
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(st.pools)) {
		stats.Pools = append(stats.Pools, st.pools[name].Stats())
	}
	return stats
}

// Families are Stats' IPv4 and IPv6.
func (s *Server) Families() (ipv4, ipv6 FamilyStats) { return s.stats.family(0), s.stats.family(1) }

// Services are Stats' Services.
func (s *Server) Services() []ServiceStats { return s.state.Load().counts() }

// counts are what sites and forwards have done, by kind, then name.
func (st *state) counts() []ServiceStats {
	all := make([]ServiceStats, 0, len(st.forwards)+len(st.sites))
	add := func(kind, name string, c *serviceCounters) {
		all = append(all, ServiceStats{
			Kind: kind, Name: name,
			Allowed: c.allowed.Load(), Denied: c.denied.Load(), Shadowed: c.shadowed.Load(),
			Failed: c.failed.Load(), Up: c.up.Load(), Down: c.down.Load(),
			Waited: c.waited.snapshot(),
		})
	}
	for name, one := range st.forwards {
		add("forward", name, one.count)
	}
	for name, one := range st.sites {
		add("site", name, one.count)
	}
	slices.SortFunc(all, func(a, b ServiceStats) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all
}
