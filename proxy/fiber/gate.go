package fiber

import "sync/atomic"

// A Gate is where one fiber of Loop waits for something that is no socket's.
type Gate struct {
	Loop *Loop

	state   atomic.Int32
	waiting *fiber
}

// The states of a Gate.
const (
	quiet  = iota
	wanted // a fiber waits
	rung
)

// Wait lets others run until Ring. It returns at once where Ring was called
// since the last Wait, so that who waits looks, waits and looks again.
func (g *Gate) Wait() {
	g.waiting = g.Loop.current
	if g.state.CompareAndSwap(quiet, wanted) {
		g.waiting.yield(struct{}{})
	}
	g.waiting = nil
	g.state.Store(quiet)
}

// Ring ends a Wait, the next one where there is none now. Any goroutine may
// call it.
func (g *Gate) Ring() {
	if g.state.Swap(rung) == wanted {
		g.Loop.Post(g.pass)
	}
}

func (g *Gate) pass() { g.Loop.run(g.waiting) }
