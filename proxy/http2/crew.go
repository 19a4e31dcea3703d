package http2

import "sync"

// maxSpare is how many goroutines wait for the next request. A new one for
// each would grow its stack by copies until it is deep enough, which costs
// more than the request.
const maxSpare = 64

// A crew handles streams, each in a goroutine that goes on with another.
type crew struct {
	next chan *stream // for those that are spare; it never blocks

	mu    sync.Mutex // guards what follows
	spare int
	over  bool
}

// handle has st handled. It returns at once.
func (c *crew) handle(st *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spare > 0 {
		c.spare--
		c.next <- st
		return
	}
	go c.work(st)
}

func (c *crew) work(st *stream) {
	for st != nil {
		st.handle()
		if !c.rest() {
			return
		}
		st = <-c.next
	}
}

// rest makes the calling goroutine a spare one, if it is wanted.
func (c *crew) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.spare == maxSpare {
		return false
	}
	c.spare++
	return true
}

// dismiss ends the spare goroutines; no more will be.
func (c *crew) dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over, c.spare = true, 0
		close(c.next)
	}
}
