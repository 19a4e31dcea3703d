package http2

import (
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"

	"genkan/proxy/message"
)

// An answer for which the client has no window is a backend's work and our
// memory, held for as long as the client likes.
const (
	// maxBlind is how many requests of that kind are handled at once.
	maxBlind = 16
	// minWindow is the least window that counts as one.
	minWindow = 1 << 10
	// blindTime is how long more requests may wait where the client has no
	// window for any new stream: it asks for what it does not want to read.
	blindTime = time.Second
)

// A blindness is whether a connection is in that state, and has been for too
// long.
type blindness struct {
	since *time.Timer // of Serve's goroutine; nil: it is not
	over  atomic.Bool
}

// fault is why the connection ends for it, nil where it does not.
func (b *blindness) fault() error {
	if !b.over.Load() {
		return nil
	}
	return fault(h2.ErrCodeEnhanceYourCalm, "requests without a window for their answers for %v", blindTime)
}

// watchBlind ends the connection where it stays blind.
func (c *Conn) watchBlind() {
	switch blind := c.isBlind(); {
	case blind && c.blind.since == nil:
		c.blind.since = time.AfterFunc(blindTime, func() {
			if c.isBlind() {
				c.blind.over.Store(true)
				c.s.config.Bite.Tell(message.LimitStreams)
				c.guard.StrikeRead()
			}
		})
	case !blind && c.blind.since != nil:
		c.blind.since.Stop()
		c.blind.since = nil
	}
}

func (c *Conn) isBlind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) > 0 && c.initWin < minWindow
}
