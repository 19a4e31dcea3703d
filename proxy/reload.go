package proxy

import (
	"errors"

	"genkan/acl"
)

// Apply puts cfg in the place of the running configuration, all of it or, with
// an error, nothing. Listeners that both have stay open and their connections
// go on; HTTP requests are judged by the new rules from the next one on.
// MaxConns and Timeouts of HTTP connections stay as they were at New.
func (s *Server) Apply(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errors.New("proxy: Apply after the end")
	}
	next, err := s.build(cfg)
	if err != nil {
		return err
	}
	if err := s.pools.prepare(next); err != nil {
		return errors.Join(err, s.pools.keep(s.state.Load()))
	}
	if err := s.logs.prepare(next); err != nil {
		s.logs.keep(s.state.Load())
		return errors.Join(err, s.pools.keep(s.state.Load()))
	}
	back := s.makeWay(next)
	opened, err := s.open(next)
	if err != nil {
		s.logs.keep(s.state.Load())
		return errors.Join(err, back(), s.pools.keep(s.state.Load()))
	}
	next.continueTallies(s.state.Load())
	old := s.state.Swap(next)
	s.steering.keep(next)
	s.deny.reset()
	if s.serving != nil {
		next.start(s.serving, s.probeFrom, lookupSystem)
		s.applyCerts(next)
	}
	for _, d := range opened {
		s.doors[d.endpoint] = d
		if s.serving != nil {
			s.run(d)
		}
	}
	for e, d := range s.doors {
		if !next.wants(d) {
			s.shut(d)
			delete(s.doors, e)
		}
	}
	old.stop(next)
	s.logs.keep(next)
	if err := s.pools.keep(next); err != nil {
		s.log.Warn("pool not undone", "cause", err)
	}
	return nil
}

// continueTallies makes the rules that stay go on with their counts.
func (st *state) continueTallies(before *state) {
	for name, one := range st.sites {
		if was := before.sites[name]; was != nil {
			one.access.Continue(was.access)
			one.continueRoutes(was)
		}
	}
	for name, one := range st.forwards {
		if was := before.forwards[name]; was != nil {
			one.access.Continue(was.access)
		}
	}
}

// Cut ends all connections whose client matches, and tells how many.
func (s *Server) Cut(match func(acl.Addr) bool) int {
	return s.conns.cut(match) + s.web.overQUIC.cut(match)
}
