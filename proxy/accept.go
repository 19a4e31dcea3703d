package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"genkan/proxy/message"
	"genkan/proxy/pipe"
)

// run begins to take clients from d. s.mu is held.
func (s *Server) run(d *door) {
	switch {
	case d.udp != nil && s.state.Load().services[d.endpoint].http3:
		s.shareQUIC(d)
		s.web.serving.Go(func() { s.web.serveQUIC(d) })
	case d.udp != nil:
		if err := s.serveUDP(d); err != nil {
			s.log.Error("listener not served", "listener", d.endpoint.String(), "cause", err)
		}
	default:
		ln, err := s.pipe.Accept(d.tcp, func(c *pipe.Conn) { s.arrive(d, c) })
		if err != nil {
			s.log.Error("listener not served", "listener", d.endpoint.String(), "cause", err)
			return
		}
		d.accepting = ln
		s.gate.add(ln)
	}
}

// shut takes no more clients from d. s.mu is held.
func (s *Server) shut(d *door) {
	if d.accepting != nil {
		s.gate.remove(d.accepting)
	}
	d.close()
}

// reset closes conn so that the peer gets an RST: it learns at once that
// nobody is here, and this side keeps no TIME-WAIT for it.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// A gate bounds the client connections that are open at once. At the bound
// further clients wait in the kernel's queues; loops that are accepting at
// that moment may each let a few more in. It is safe for concurrent use, also
// from the function that handles a connection.
type gate struct {
	limit int64
	open  atomic.Int64
	shut  atomic.Bool
	held  int             // how many want that nobody is let in, by hold; guarded by mu
	full  func(shut bool) // told when the gate shuts and opens, under mu

	mu        sync.Mutex // guards listeners and changes of shut
	listeners map[*pipe.Listener]bool
}

// enter counts a connection in.
func (g *gate) enter() {
	if g.open.Add(1) >= g.limit && !g.shut.Load() {
		g.turn(true)
	}
}

// leave counts a connection out. The gate opens again with some room, lest it
// turn with every client.
func (g *gate) leave() {
	if g.open.Add(-1) <= g.limit*9/10 && g.shut.Load() {
		g.turn(false)
	}
}

func (g *gate) turn(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.open.Load()
	if g.shut.Load() == shut || shut && n < g.limit || !shut && n > g.limit*9/10 {
		return // somebody was faster, or it is not so any more
	}
	g.shut.Store(shut)
	for ln := range g.listeners {
		if shut || g.held > 0 {
			ln.Pause()
		} else {
			ln.Resume()
		}
	}
	g.full(shut)
}

func (g *gate) add(ln *pipe.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listeners[ln] = true
	if g.shut.Load() || g.held > 0 {
		ln.Pause()
	}
}

func (g *gate) remove(ln *pipe.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.listeners, ln)
}

// logFull logs that the gate shut, once a minute at most (with a queue of
// clients it turns with every few), and that it opened after that.
func (s *Server) logFull() func(shut bool) {
	var last time.Time
	told := false
	return func(shut bool) {
		if shut {
			s.bites.bite(message.LimitConns)
		}
		switch now := time.Now(); {
		case shut && now.Sub(last) > time.Minute:
			last, told = now, true
			s.log.Warn("max_conns reached: new clients wait until connections end", "max_conns", s.gate.limit)
		case !shut && told:
			told = false
			s.log.Info("accepting again", "open", s.gate.open.Load())
		}
	}
}
