package pipe

import (
	"context"
	"errors"
	"time"
)

// Alive waits until every loop has made a turn since the call, or ctx ends: then
// the error says that one hangs.
func (e *Engine) Alive(ctx context.Context) error {
	was := make([]uint64, len(e.loops))
	for i, l := range e.loops {
		was[i] = l.passes.Load()
		ring(l.wake)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i, l := range e.loops {
		for l.passes.Load() == was[i] {
			select {
			case <-ctx.Done():
				return errors.New("pipe: an event loop hangs")
			case <-tick.C:
			}
		}
	}
	return nil
}
