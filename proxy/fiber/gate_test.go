package fiber

import (
	"sync/atomic"
	"testing"
)

// A Ring before the Wait counts, many count once, and fibers take turns.
func TestGate(t *testing.T) {
	l := startLoop(t)
	g := &Gate{Loop: l}
	g.Ring()
	g.Ring()
	const rounds = 2000
	var given, taken atomic.Int64
	done := make(chan struct{})
	run(t, l, func() {
		g.Wait() // was rung
		go func() {
			defer close(done)
			for range rounds {
				given.Add(1)
				g.Ring()
			}
		}()
		for taken.Load() < rounds {
			if n := given.Load(); n > taken.Load() {
				taken.Store(n)
				continue
			}
			g.Wait()
		}
	})
	<-done
}

// What is posted by the loop itself is called without its being woken, also
// where nothing else happens.
func TestPostFromLoop(t *testing.T) {
	l := startLoop(t)
	const rounds = 1000
	done := make(chan struct{})
	n := 0
	var again func()
	again = func() {
		if n++; n == rounds {
			close(done)
			return
		}
		l.Post(again)
	}
	l.Post(again)
	<-done
}
