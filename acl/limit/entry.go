package limit

import "time"

const (
	maxRuns  = 12
	maxCount = 1<<16 - 1 // what run.count holds

	// MaxWindow bounds Attempt.Window: ticks of a millisecond fit twice.
	MaxWindow = 7 * 24 * time.Hour
)

// An entry is the log of one key's passed attempts, in runs of neighbours,
// the oldest first. A run counts until its last attempt has left the window:
// the client may wait too long, never too short. With maxRuns attempts or
// fewer a window, every attempt is a run of its own.
//
// The fields are ordered so that a key with few attempts fits a cache line.
type entry struct {
	hash  uint64
	base  int64  // the moment of tick 0, as a time.Duration
	until int64  // when the newest run leaves the window
	start uint32 // tick of the newest run's first attempt
	rest  uint16 // attempts of the newest run that are no whole grain yet
	n     uint8  // runs in use
	runs  [maxRuns]run
}

// A run is count attempts, in grains, the last of them at the tick hi<<16|lo
// (in two halves, as that leaves no padding).
type run struct{ hi, lo, count uint16 }

func (r *run) last() uint32 { return uint32(r.hi)<<16 | uint32(r.lo) }

func (r *run) setLast(at uint32) { r.hi, r.lo = uint16(at>>16), uint16(at) }

// grain is how many attempts one unit of count stands for, so that a bound
// above maxCount fits.
func grain(most int) int { return (most + maxCount - 1) / maxCount }

// tick is the unit of the log: what is stored is rounded up to it, what is
// asked rounded down.
func tick(window time.Duration) time.Duration {
	if window <= fine {
		return time.Microsecond
	}
	return time.Millisecond
}

// fine is the longest window with ticks of a microsecond.
const fine = 1000 * time.Second

// ticks is d, not negative, in whole ticks of a window. Two divisions by
// constants cost less than one by a variable.
func ticks(d, window time.Duration) uint64 {
	if window <= fine {
		return uint64(d) / uint64(time.Microsecond)
	}
	return uint64(d) / uint64(time.Millisecond)
}

// dead reports whether nothing counts any more.
func (e *entry) dead(now time.Duration) bool { return int64(now) >= e.until }

// advance drops the runs that have left the window that ends now. An attempt
// exactly one window ago has left it.
func (e *entry) advance(now, window time.Duration) {
	since := max(0, now-time.Duration(e.base))
	unit := tick(window)
	wide := ticks(window+unit-1, window)
	at := ticks(since, window)
	drop := uint8(0)
	for drop < e.n && at >= uint64(e.runs[drop].last())+wide {
		drop++
	}
	if drop > 0 {
		copy(e.runs[:], e.runs[drop:e.n])
		if e.n -= drop; e.n == 0 {
			e.rest = 0
		}
	}
	if since >= 2*window {
		e.rebase(ticks(since-window, window), unit)
	}
}

// rebase moves tick 0 up by some; what is alive lies behind the new one.
func (e *entry) rebase(by uint64, unit time.Duration) {
	e.base += int64(by) * int64(unit)
	for i := range e.runs[:e.n] {
		e.runs[i].setLast(e.runs[i].last() - uint32(by))
	}
	if e.n == 0 || uint64(e.start) < by {
		e.start = 0
		return
	}
	e.start -= uint32(by)
}

// used returns how many attempts count, after advance.
func (e *entry) used(most int) int {
	sum := 0
	for i := range e.runs[:e.n] {
		sum += int(e.runs[i].count)
	}
	return sum*grain(most) + int(e.rest)
}

// wait returns how long until one attempt can pass, 0 if it can now, after
// advance.
func (e *entry) wait(now, window time.Duration, most int) time.Duration {
	over := e.used(most) - most
	if over < 0 {
		return 0
	}
	unit := tick(window)
	for i := range e.runs[:e.n] {
		r := &e.runs[i]
		over -= int(r.count) * grain(most)
		if i == int(e.n)-1 {
			over -= int(e.rest)
		}
		if over < 0 {
			leaves := time.Duration(e.base) + (time.Duration(r.last())+time.Duration(ticks(window+unit-1, window)))*unit
			return max(1, leaves-now)
		}
	}
	return window
}

// add counts one attempt, after advance.
func (e *entry) add(now, window time.Duration, most int) {
	unit := tick(window)
	since := max(0, now-time.Duration(e.base))
	at := uint32(ticks(since+unit-1, window))
	if e.n == 0 || !e.joins(at, time.Duration(ticks(window, window)), most) {
		e.n++
		e.start, e.runs[e.n-1].count = at, 0
	}
	newest := &e.runs[e.n-1]
	newest.setLast(at)
	if e.rest++; int(e.rest) >= grain(most) {
		e.rest = 0
		newest.count++
	}
	e.until = e.base + int64(time.Duration(at)*unit+window+unit)
}

// joins reports whether an attempt at a tick belongs to the newest run. Runs
// start at least a window/(maxRuns-1) apart, so that maxRuns are enough; few
// attempts need no joining.
func (e *entry) joins(at uint32, wide time.Duration, most int) bool {
	if most <= maxRuns {
		return false
	}
	return int(e.n) == maxRuns || (time.Duration(at)-time.Duration(e.start))*(maxRuns-1) < wide
}

// undo takes one attempt back from the newest run.
func (e *entry) undo(most int) {
	switch {
	case e.n == 0:
	case e.rest > 0:
		e.rest--
	case e.runs[e.n-1].count > 0:
		e.runs[e.n-1].count--
		e.rest = uint16(grain(most) - 1)
	}
	if e.n > 0 && e.rest == 0 && e.runs[e.n-1].count == 0 {
		e.n--
	}
}
