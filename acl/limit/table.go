// Package limit counts attempts in sliding windows and living connections,
// in bounded memory, for the gates of package acl.
//
//	t := limit.NewTable(0)
//	ok, wait := t.Take(time.Since(start), &limit.Attempt{
//		Rule: id, Window: 30 * time.Second,
//		Levels: [3]limit.Level{{Key: k64, Max: 6}, {Key: k56, Max: 48}, {Key: k48, Max: 192}}, N: 3,
//		Overflow: limit.Level{Key: k32, Max: 192},
//	})
//
// At most Max attempts pass in any window, refused ones are not counted. The
// count is exact up to 12 attempts a window; above, an attempt may be held
// against the client up to an eleventh of the window too long, never too
// short.
//
// Memory: a key takes at most 128 bytes with all that belongs to it, and there
// are at most MaxKeys of them. A key whose window has passed makes room. While
// all are alive none is evicted, so nobody can wash off a count, one's own or
// another's, by flooding the table: a newcomer without room is counted under
// its Overflow key, together with its neighbours.
package limit

import (
	"sync"
	"time"
)

// DefaultMaxKeys bounds a Table by some 128 MB. 60 million are the most.
const DefaultMaxKeys = 1 << 20

// shardCount spreads the locks; two cores need few, a big machine more.
const shardCount = 64

// A Key is a client's prefix as a number, with its length in bits; IPv4 counts
// from 1000, so that 0.0.0.0/32 and ::/32 differ.
type Key struct {
	Hi, Lo uint64
	Len    uint16
}

// A Level is one prefix length at which an attempt counts.
type Level struct {
	Key Key
	Max int // attempts that pass in one window, 1 to MaxCount
}

// MaxCount is the largest Max of a Level.
const MaxCount = 1 << 30

// An Attempt is what Take judges. Rule tells the counters of one gate from
// those of another; a gate that keeps its Rule over a reload keeps its counts.
type Attempt struct {
	Rule     uint64
	Window   time.Duration // more than 0
	Levels   [3]Level      // the narrowest first
	N        int           // how many Levels count, 1 to 3
	Overflow Level         // counted in place of the Levels that find no room
}

// A Table counts attempts. It is safe for concurrent use.
type Table struct {
	hash   hasher
	slab   slab
	shards [shardCount]shard
}

// NewTable returns a table for at most maxKeys keys; 0 means DefaultMaxKeys.
func NewTable(maxKeys int) *Table {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	t := &Table{hash: newHasher()}
	t.slab = newSlab(t)
	for i := range t.shards {
		t.shards[i].slab = &t.slab
		t.shards[i].most = min(max(1, maxKeys/shardCount), maxEntries*15/16)
	}
	return t
}

// Take counts a at all its levels if it is below the bound at each, and at
// none otherwise; then wait is when one attempt can pass again. now is the
// time since any fixed moment, the same for every call.
func (t *Table) Take(now time.Duration, a *Attempt) (ok bool, wait time.Duration) {
	sh, hashes := t.locate(a)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.take(now, a, hashes, &t.hash)
}

// Untake gives back one attempt that Take has just counted for an equal a.
func (t *Table) Untake(now time.Duration, a *Attempt) {
	sh, hashes := t.locate(a)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range a.N {
		if e := sh.lookup(hashes[i]); e != nil {
			e.advance(now, a.Window)
			e.undo(a.Levels[i].Max)
		}
	}
}

// Used returns what counts against each level of a at this moment, without
// counting.
func (t *Table) Used(now time.Duration, a *Attempt) (used [3]int) {
	sh, hashes := t.locate(a)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range a.N {
		if e := sh.lookup(hashes[i]); e != nil {
			e.advance(now, a.Window)
			used[i] = e.used(a.Levels[i].Max)
		}
	}
	return used
}

// Len returns the number of keys that take memory.
func (t *Table) Len() int {
	n := 0
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		n += sh.count - len(sh.free)
		sh.mu.Unlock()
	}
	return n
}

// locate finds the shard, by the widest level so that all levels of one
// client lie under one lock, and the hash of each level's key.
func (t *Table) locate(a *Attempt) (*shard, [3]uint64) {
	var h [3]uint64
	for i := range a.N {
		h[i] = t.hash.of(a.Rule, a.Levels[i].Key)
	}
	return &t.shards[h[a.N-1]%shardCount], h
}

// A shard is a part of the keys under one lock.
type shard struct {
	mu sync.Mutex // guards all below

	index  []uint32        // open addressing: see link
	chunks []*[chunk]entry // entries by number
	count  int             // entries in chunks
	free   []uint32        // numbers of entries given up
	hand   int             // where the next search for dead entries starts
	most   int
	slab   *slab    // the table's
	_      [16]byte // keeps the locks of neighbours on lines of their own
}

const chunk = 128

func (sh *shard) entry(n uint32) *entry { return &sh.chunks[n/chunk][n%chunk] }

func (sh *shard) take(now time.Duration, a *Attempt, hashes [3]uint64, h *hasher) (bool, time.Duration) {
	var found [3]*entry
	var wait time.Duration
	missing := 0
	for i := range a.N {
		e := sh.lookup(hashes[i])
		if found[i] = e; e == nil {
			missing++
			continue
		}
		e.advance(now, a.Window)
		wait = max(wait, e.wait(now, a.Window, a.Levels[i].Max))
	}
	if wait > 0 {
		return false, wait
	}
	if missing > 0 && !sh.reserve(now, missing) {
		return sh.overflow(now, a, h.of(^a.Rule, a.Overflow.Key))
	}
	for i := range a.N {
		if found[i] == nil {
			found[i] = sh.insert(now, hashes[i])
		}
		found[i].add(now, a.Window, a.Levels[i].Max)
	}
	return true, 0
}

// overflow counts a under its Overflow key alone. The spare room for such keys
// is a sixteenth; when that is full too, newcomers are refused.
func (sh *shard) overflow(now time.Duration, a *Attempt, hash uint64) (bool, time.Duration) {
	e := sh.lookup(hash)
	if e == nil {
		if sh.count-len(sh.free) >= sh.most+max(1, sh.most/16) {
			return false, a.Window
		}
		e = sh.insert(now, hash)
	}
	e.advance(now, a.Window)
	if wait := e.wait(now, a.Window, a.Overflow.Max); wait > 0 {
		return false, wait
	}
	e.add(now, a.Window, a.Overflow.Max)
	return true, 0
}

// reserve makes room for n keys, by giving up dead ones if need be. It looks
// at few entries a call, so that a flood pays for its own sweeping.
func (sh *shard) reserve(now time.Duration, n int) bool {
	const steps = 16
	for range steps {
		if sh.count-len(sh.free)+n <= sh.most {
			return true
		}
		if sh.hand++; sh.hand >= sh.count {
			sh.hand = 0
		}
		if e := sh.entry(uint32(sh.hand)); e.until > 0 && e.dead(now) {
			sh.remove(uint32(sh.hand))
		}
	}
	return sh.count-len(sh.free)+n <= sh.most
}
