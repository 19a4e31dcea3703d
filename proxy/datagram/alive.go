package datagram

import (
	"context"
	"errors"
	"time"
)

// Alive waits until every loop has made a turn since the call, or ctx ends: then
// the error says that one hangs.
func (ls *Loops) Alive(ctx context.Context) error {
	was := make([]uint64, len(ls.loops))
	for i, l := range ls.loops {
		was[i] = l.turns.Load()
		l.mu.Lock()
		l.wake()
		l.mu.Unlock()
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i, l := range ls.loops {
		for l.turns.Load() == was[i] {
			select {
			case <-ctx.Done():
				return errors.New("datagram: an event loop hangs")
			case <-tick.C:
			}
		}
	}
	return nil
}
