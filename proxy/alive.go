package proxy

import (
	"context"
	"errors"
)

// Alive waits until all that carries traffic has made a turn since the call, or
// ctx ends: then the error says what hangs. It is for a watchdog, while the
// Server serves.
func (s *Server) Alive(ctx context.Context) error {
	s.mu.Lock() // an Apply that hangs would keep it
	udp := s.udp
	s.mu.Unlock()
	var errs []error
	if udp != nil {
		errs = append(errs, udp.Alive(ctx))
	}
	for _, loop := range s.web.loops {
		turned := make(chan struct{})
		if !loop.Post(func() { close(turned) }) {
			continue // closed
		}
		select {
		case <-turned:
		case <-ctx.Done():
			errs = append(errs, errors.New("an event loop of HTTP hangs"))
		}
	}
	return errors.Join(append(errs, s.pipe.Alive(ctx))...)
}
