package proxy

import (
	"genkan/acl"
	"genkan/proxy/accesslog"
)

// A gateway is what judging needs to know of a site or forward.
type gateway struct {
	kind, name string
	access     *acl.Policy
	shadow     bool
	count      *serviceCounters
	log        *accesslog.Log // nil: none; set by logSet.prepare
}

// judge decides whether client may enter by g, counts it, and logs a denial.
// In shadow mode everybody enters. The caller calls the verdict's Release once
// the client has gone.
func (s *Server) judge(g gateway, client acl.Client) acl.Verdict {
	v := g.access.Check(client)
	switch {
	case v.Allow:
		g.count.allowed.Add(1)
	case g.shadow:
		g.count.allowed.Add(1)
		g.count.shadowed.Add(1)
		s.deny.note("would be denied", g.kind, g.name, client.Addr, v)
		v.Allow = true
	default:
		g.count.denied.Add(1)
		s.stats.denied[family(client.Addr)].Add(1)
		s.deny.note("denied", g.kind, g.name, client.Addr, v)
	}
	return v
}
