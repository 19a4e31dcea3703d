// Package pressure tells how near the program is to the end of its memory, so
// that it does less before the kernel kills it:
//
//	g := pressure.New(limit, log)    // limit 0: the control group's, or the machine's
//	go g.Run(ctx, func(l pressure.Level) { … })
//	if g.Level() >= pressure.Refuse { … 503 … }
//
// The levels are those of Envoy's overload manager. Used is what counts
// towards the limit: the control group's account where that is the limit,
// sockets included; else what this process has resident.
package pressure

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// A Level says what there is no memory for any more. The zero Level is Calm.
type Level int32

// The levels, and the share of the limit from which each holds.
const (
	Calm      Level = iota
	KeepLess        // 80 %: connections end after their answer
	Refuse          // 90 %: new requests are answered 503
	TakeNoOne       // 95 %: no connection is accepted
)

// every is the time between two looks, and hold the least that a level lasts:
// a level that changes with each breath helps nobody.
const (
	every = 250 * time.Millisecond
	hold  = time.Second
)

// A Gauge measures. The nil Gauge is always calm.
type Gauge struct {
	log   *slog.Logger
	limit uint64
	used  func() (uint64, error)
	level atomic.Int32
}

// New returns a Gauge for limit bytes. 0 is the limit of the control group
// that the program runs in, or the machine's memory.
func New(limit uint64, log *slog.Logger) *Gauge {
	g := &Gauge{log: log, limit: limit, used: resident}
	if limit > 0 {
		return g
	}
	if group, most := controlGroup("/sys/fs/cgroup", "/proc/self/cgroup"); group != "" {
		g.limit, g.used = most, func() (uint64, error) { return charged(group) }
		return g
	}
	g.limit = machine()
	return g
}

// At returns a Gauge that is always at level l.
func At(l Level) *Gauge {
	g := &Gauge{}
	g.level.Store(int32(l))
	return g
}

// Limit is the number of bytes that the levels are shares of; 0: not known,
// and nothing is ever refused.
func (g *Gauge) Limit() uint64 { return g.limit }

// Level is the present one.
func (g *Gauge) Level() Level {
	if g == nil {
		return Calm
	}
	return Level(g.level.Load())
}

// Run measures until ctx ends, and calls changed with each new level.
func (g *Gauge) Run(ctx context.Context, changed func(Level)) {
	if g.limit == 0 {
		return
	}
	t := time.NewTicker(every)
	defer t.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			used, err := g.used()
			if err != nil {
				g.log.Warn("memory not measured: nothing will be refused for want of it", "cause", err)
				return
			}
			was, is := g.Level(), levelOf(used, g.limit)
			if is == was || is < was && now.Sub(since) < hold {
				continue
			}
			since = now
			g.level.Store(int32(is))
			g.log.Warn("memory", "used", used, "limit", g.limit, "level", is.String())
			changed(is)
		}
	}
}

func levelOf(used, limit uint64) Level {
	switch share := used / (limit/100 + 1); {
	case share >= 95:
		return TakeNoOne
	case share >= 90:
		return Refuse
	case share >= 80:
		return KeepLess
	}
	return Calm
}

// String says what the level means.
func (l Level) String() string {
	return [...]string{"calm", "connections end after their answer", "requests are refused", "nobody is accepted"}[l]
}
