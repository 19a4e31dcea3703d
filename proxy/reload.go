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
	opened, err := s.open(next)
	if err != nil {
		return err
	}
	old := s.state.Swap(next)
	s.deny.reset()
	if s.serving != nil {
		next.start(s.serving, s.dial, lookupSystem)
	}
	for _, d := range opened {
		s.doors[d.endpoint] = d
		if s.serving != nil {
			s.run(d)
		}
	}
	for e, d := range s.doors {
		if next.services[e] == nil {
			d.close()
			delete(s.doors, e)
		}
	}
	old.stop(next)
	return nil
}

// Cut ends all connections whose client matches, and tells how many.
func (s *Server) Cut(match func(acl.Addr) bool) int { return s.conns.cut(match) }
