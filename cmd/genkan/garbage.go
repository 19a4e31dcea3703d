package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// garbageRoom is how much may gather before a collection, however little is alive. A busy front with few megabytes of its
// own would have one many times a second by Go's default, for a tenth of its CPU time.
const garbageRoom = 16 << 20

// A collector says when garbage is collected: when as much has gathered as is alive, or garbageRoom. The zero collector
// leaves that to the runtime.
type collector struct {
	mu      sync.Mutex // guards what follows
	running bool
	sparing int // configurations that are being read
	percent int // that is in force; 0: the runtime's
}

// start begins to decide, and goes on until stop. Whoever sets GOGC knows better.
func (c *collector) start() {
	if os.Getenv("GOGC") != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = true
	c.tune()
	c.follow()
}

// stop gives the decision back to the runtime.
func (c *collector) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		c.running, c.percent = false, 100
		debug.SetGCPercent(c.percent)
	}
}

// follow has tune called behind each collection, with c.mu held: a collection is what sees that nobody holds the mark.
func (c *collector) follow() {
	mark := new([64]byte)
	runtime.AddCleanup(mark, func(c *collector) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running {
			c.tune()
			c.follow()
		}
	}, c)
}

// tune decides, with c.mu held.
func (c *collector) tune() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if p := percentOf(live[0].Value.Uint64(), c.sparing > 0); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
}

// percentOf is GOGC for so many bytes alive.
func percentOf(live uint64, sparing bool) int {
	live = max(live, 1<<20)
	if sparing {
		return int(max(35, 100*(max(live, sparedHeap)-live)/live))
	}
	return int(max(100, 100*garbageRoom/live))
}

// sparedHeap is how large the heap may grow before garbage is collected sooner than usual.
const sparedHeap = 144 << 20

// spare has garbage collected sooner until the result is called: while a configuration is read, the one before is in
// memory, too, and with ten thousand sites what is thrown away on the way would be most of what the process takes.
func (c *collector) spare() (asBefore func()) {
	change := func(by int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.sparing += by; c.running {
			c.tune()
		}
	}
	change(1)
	return func() { change(-1) }
}

// collectBefore has garbage collected before the proxy begins to refuse clients for want of memory: so what it counts is
// in use. Whoever sets GOMEMLIMIT knows better.
func collectBefore(limit uint64) {
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(limit / 10 * 7))
	}
}
