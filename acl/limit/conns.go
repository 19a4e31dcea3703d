package limit

import "sync"

// Conns counts living connections. It is safe for concurrent use. Its memory
// is bounded by the connections that live: a key without any takes none.
type Conns struct {
	hash   hasher
	shards [shardCount]connShard
}

type connShard struct {
	mu    sync.Mutex // guards alive
	alive map[uint64]int
	_     [40]byte // keeps the locks of neighbours on lines of their own
}

// NewConns returns a counter of no connections.
func NewConns() *Conns { return &Conns{hash: newHasher()} }

// Acquire counts one more connection at all levels of a, of which Window and
// Overflow mean nothing here, if each is below its bound; at none otherwise.
// What it counted, Release gives back.
func (c *Conns) Acquire(a *Attempt) bool {
	sh, hashes := c.locate(a)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range a.N {
		if sh.alive[hashes[i]] >= a.Levels[i].Max {
			return false
		}
	}
	if sh.alive == nil {
		sh.alive = make(map[uint64]int)
	}
	for i := range a.N {
		sh.alive[hashes[i]]++
	}
	return true
}

// Release gives back what Acquire counted for an equal a.
func (c *Conns) Release(a *Attempt) {
	sh, hashes := c.locate(a)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range a.N {
		if sh.alive[hashes[i]]--; sh.alive[hashes[i]] <= 0 {
			delete(sh.alive, hashes[i])
		}
	}
}

// Used returns the living connections at each level of a.
func (c *Conns) Used(a *Attempt) (used [3]int) {
	sh, hashes := c.locate(a)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range a.N {
		used[i] = sh.alive[hashes[i]]
	}
	return used
}

func (c *Conns) locate(a *Attempt) (*connShard, [3]uint64) {
	var h [3]uint64
	for i := range a.N {
		h[i] = c.hash.of(a.Rule, a.Levels[i].Key)
	}
	return &c.shards[h[a.N-1]%shardCount], h
}
