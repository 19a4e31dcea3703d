package pipe

import (
	"os"

	"golang.org/x/sys/unix"
)

// limits turns o's limits into ticks: the life until start is a duration.
func (s *Stream) limits(o Options) {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	s.idle = ticks(o.Idle)
	s.life = ticks(o.Lifetime)
	s.half[0].rest = o.Head
}

// start begins s's life with this loop.
func (l *loop) start(s *Stream) {
	s.last = l.now
	if s.life != 0 {
		s.life += l.now
	}
	if s.dial == nil {
		l.schedule(s)
	}
}

// fail ends s because of an error of side's socket.
func (l *loop) fail(s *Stream, side Side, err unix.Errno) {
	reason, call := Failed, "relay"
	if err == unix.ECONNRESET || err == unix.EPIPE {
		// Linux says EPIPE for a reset that comes after the peer's FIN.
		reason = Reset
	}
	l.abort(s, Result{Reason: reason, Side: side, Err: os.NewSyscallError(call, err)})
}

// abort ends s so that both peers see it was cut.
func (l *loop) abort(s *Stream, r Result) { l.finish(s, true, r) }

// finish closes both sockets and gives back all that s holds.
func (l *loop) finish(s *Stream, reset bool, r Result) {
	if s.over {
		return
	}
	s.over = true
	l.wheel.remove(s)
	l.table.clear(s.index)
	l.dead = append(l.dead, s.index)
	for i := range s.half {
		h := &s.half[i]
		l.giveBack(h)
		if h.pipe != nil {
			l.pipes.put(h.pipe)
			h.pipe = nil
		}
	}
	s.close(reset)
	for i := range l.resting { // there are descriptors again
		l.resting[i].until = l.now
	}
	l.engine.finish(s, r)
}

// close closes both sockets.
func (s *Stream) close(reset bool) {
	for i := range s.ends {
		if reset {
			abandon(s.ends[i].fd)
		} else {
			closeFD(s.ends[i].fd)
		}
		s.ends[i].fd = -1
	}
}
