package http2

import (
	"time"

	"genkan/proxy/fiber"
)

// unbounded is the patience of who knows that the bell will ring.
const unbounded = 1 << 62

// A bell wakes the one that waits at it: a fiber, or a goroutine.
type bell struct {
	gate  fiber.Gate
	ch    chan struct{} // where a goroutine waits, else nil
	stray bool          // a timer may still ring it
}

// forGoroutine makes it a goroutine's, before anybody waits or rings.
func (b *bell) forGoroutine() { b.ch = make(chan struct{}, 1) }

// ring ends a wait, the next one where there is none now. Any goroutine may
// call it.
func (b *bell) ring() {
	if b.ch == nil {
		b.gate.Ring()
		return
	}
	select {
	case b.ch <- struct{}{}:
	default:
	}
}

// wait waits until the bell rings, and reports false where it took d. Who
// waits looks again at what was waited for in any case.
func (b *bell) wait(d time.Duration) bool {
	switch {
	case b.ch == nil && d == unbounded:
		b.gate.Wait()
		return true
	case b.ch == nil:
		t := time.AfterFunc(d, b.gate.Ring)
		b.gate.Wait()
		if !t.Stop() {
			b.stray = true
			return false
		}
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-b.ch:
		return true
	case <-t.C:
		return false
	}
}
