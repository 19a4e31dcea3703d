package http1

import (
	"sync"
	"time"

	"genkan/proxy/fiber"
)

// freshFor is how long after its last use a connection is taken for a
// request that must not be sent twice: a backend that closes unused
// connections closes them later than that.
const freshFor = 2 * time.Second

// A pool keeps backend connections that wait for the next request, the last
// used first. The zero pool keeps none.
type pool struct {
	maxEach, maxAll int

	mu     sync.Mutex // guards what follows
	idle   map[poolKey][]*backendConn
	all    int
	closed bool
}

// A poolKey is what two requests must have in common to use one connection:
// one that is an event loop's is used there only.
type poolKey struct {
	Target
	loop *fiber.Loop
}

func newPool(maxEach, maxAll int) pool {
	return pool{maxEach: maxEach, maxAll: maxAll, idle: map[poolKey][]*backendConn{}}
}

// get takes a connection that is still open, or returns nil. It always looks:
// bytes that came behind the last answer would be taken for the next.
func (p *pool) get(k poolKey, idempotent bool) *backendConn {
	for {
		c := p.pop(k)
		if c == nil {
			return nil
		}
		if (idempotent || time.Since(c.idleSince) < freshFor) && c.silent() {
			return c
		}
		c.close()
	}
}

func (p *pool) pop(k poolKey) *backendConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[k]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	p.idle[k] = list[:len(list)-1]
	p.all--
	return c
}

// put keeps c for the next request, or closes it where there is no room.
func (p *pool) put(c *backendConn) {
	c.idleSince = time.Now()
	p.mu.Lock()
	if !p.closed && p.all < p.maxAll && len(p.idle[c.key]) < p.maxEach {
		p.idle[c.key] = append(p.idle[c.key], c)
		p.all++
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		c.close()
	}
}

// expire closes what was not used since the given time. The oldest stand
// first in each list.
func (p *pool) expire(since time.Time) {
	var old []*backendConn
	p.mu.Lock()
	for t, list := range p.idle {
		n := 0
		for n < len(list) && list[n].idleSince.Before(since) {
			n++
		}
		old = append(old, list[:n]...)
		p.all -= n
		if n == len(list) {
			delete(p.idle, t)
		} else if n > 0 {
			p.idle[t] = append([]*backendConn(nil), list[n:]...)
		}
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// closeAll closes what is kept, and what comes later at once.
func (p *pool) closeAll() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.all, p.closed = map[poolKey][]*backendConn{}, 0, true
	p.mu.Unlock()
	for _, list := range idle {
		for _, c := range list {
			c.close()
		}
	}
}
