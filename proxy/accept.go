package proxy

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// accept takes connections from d until it is closed.
func (s *Server) accept(d *door) {
	pause := &acceptPause{log: s.log.With("listener", d.endpoint.String())}
	full := false
	for {
		conn, err := d.tcp.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !pause.wait(err, d.closed) {
				return
			}
			continue
		}
		pause.end()
		ok := s.conns.acquire(d.closed, func() {
			if !full {
				s.log.Warn("max_conns reached: not accepting until connections end", "max_conns", cap(s.conns.slots))
			}
			full = true
		})
		if !ok {
			reset(conn)
			return
		}
		if full && s.conns.count() < cap(s.conns.slots)*9/10 {
			full = false
		}
		s.arrive(d, conn)
	}
}

// An acceptPause spaces out accepts that fail for want of descriptors or
// memory: what is open goes on, and the processor stays free for it. It logs
// once when that begins and once when it is over.
type acceptPause struct {
	log   *slog.Logger
	delay time.Duration // of the last pause; zero: accepting works
	began time.Time
}

// Accepting is tried again within a second after the want is over.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// wait pauses after err. It is false when the loop shall end.
func (p *acceptPause) wait(err error, stop <-chan struct{}) bool {
	if errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINTR) {
		return true // the client was gone before we came: no want
	}
	if p.delay == 0 {
		p.began = time.Now()
		p.log.Error("accepting paused: what is open goes on", "cause", err)
	}
	p.delay = min(max(2*p.delay, firstPause), longestPause)
	select {
	case <-time.After(p.delay):
		return true
	case <-stop:
		return false
	}
}

func (p *acceptPause) end() {
	if p.delay == 0 {
		return
	}
	p.delay = 0
	p.log.Info("accepting again", "paused", since(p.began))
}

// reset closes conn so that the peer gets an RST: it learns at once that
// nobody is here, and this side keeps no TIME-WAIT for it.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}
