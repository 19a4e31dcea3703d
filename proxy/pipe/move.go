package pipe

import (
	"golang.org/x/sys/unix"
)

const (
	turnBytes = 1 << 20 // what a direction may move before others get their turn
	bulkReads = 4       // full reads in a row that make a direction bulk
)

// move does all that s's sockets allow now.
func (l *loop) move(s *Stream) {
	if !l.carry(s, 0) || !l.carry(s, 1) {
		return
	}
	// A socket that is broken and cannot be read to its error, since it was
	// read to its end or the other side takes nothing.
	for i := range s.ends {
		e := &s.ends[i]
		if !e.is(broken) || s.queued {
			continue
		}
		if err := socketError(e.fd); err != 0 {
			l.fail(s, Side(i+1), err)
			return
		}
		e.flags &^= broken
	}
}

// turns goes on with the streams that had more to move.
func (l *loop) turns() {
	now := l.again
	l.again = nil
	for _, s := range now {
		s.queued = false
		if !s.over {
			l.move(s)
		}
	}
	if l.again == nil {
		l.again = now[:0]
	}
}

// carry moves bytes in direction d. False: the stream is over.
func (l *loop) carry(s *Stream, d int) bool {
	alive := l.carryOn(s, d)
	if h := &s.half[d]; alive && h.pipe != nil && h.pipe.n == 0 {
		l.pipes.put(h.pipe)
		h.pipe = nil
	}
	return alive
}

func (l *loop) carryOn(s *Stream, d int) bool {
	src, dst, h := &s.ends[d], &s.ends[1-d], &s.half[d]
	start := h.moved.Load()
	for {
		if h.pending() {
			if !dst.is(writable) {
				return true
			}
			if !l.flush(s, d) {
				return false
			}
			if h.pending() {
				return true
			}
		}
		if src.is(ended) {
			return l.passEOF(s, d)
		}
		if !src.is(readable) || !dst.is(writable) {
			return true
		}
		if h.moved.Load()-start >= turnBytes {
			l.later(s)
			return true
		}
		var err unix.Errno
		if h.bulk && !src.is(urgent) && l.lendPipe(h) {
			err = l.pullPipe(src, h)
		} else {
			err = l.pull(s, d)
		}
		switch err {
		case 0:
		case unix.EAGAIN:
			src.flags &^= readable
			if h.bulk && h.moved.Load()-start < int64(bulkReads*len(l.scratch.bytes)) {
				h.bulk, h.streak = false, 0
			}
		default:
			l.fail(s, Side(d+1), err)
			return false
		}
		if s.over {
			return false
		}
	}
}

func (l *loop) later(s *Stream) {
	if !s.queued {
		s.queued = true
		l.again = append(l.again, s)
	}
}

// pull reads once and writes on what came. Its error is the source's.
func (l *loop) pull(s *Stream, d int) unix.Errno {
	src, dst, h := &s.ends[d], &s.ends[1-d], &s.half[d]
	p := l.scratch.bytes
	n, err := recv(src.fd, p)
	if err != 0 {
		return err
	}
	if n == 0 {
		l.sawEOF(s, d)
		return 0
	}
	if n == len(p) {
		if h.streak++; h.streak >= bulkReads {
			h.bulk = true
		}
	} else {
		h.streak = 0
		if !src.is(hangup | urgent | broken) {
			src.flags &^= readable // epoll(7), Q9: a short read emptied the socket
		}
	}
	dst.speaks()
	m, err := send(dst.fd, p[:n])
	l.sent(s, h, m)
	if err != 0 && err != unix.EAGAIN {
		l.fail(s, Side(2-d), err)
		return 0
	}
	if m < n {
		dst.flags &^= writable
		l.keep(h, p[m:n])
	}
	return 0
}

// lendPipe sees to it that h has a pipe. False: it must go on without.
func (l *loop) lendPipe(h *half) bool {
	if h.pipe == nil {
		h.pipe = l.pipes.take()
	}
	if h.pipe == nil {
		h.bulk, h.streak = false, 0
	}
	return h.pipe != nil
}

// pullPipe fills h's pipe, which is empty: EAGAIN can only mean the source.
func (l *loop) pullPipe(src *end, h *half) unix.Errno {
	n, err := splice(src.fd, h.pipe.w, pipeSize)
	switch {
	case err == unix.EINVAL:
		h.bulk, h.streak = false, 0 // this socket cannot be spliced
		return 0
	case err != 0:
		return err
	case n == 0:
		// The end, or urgent data that nothing told of yet: a read knows.
		h.bulk, h.streak = false, 0
		return 0
	}
	h.pipe.n = n
	return 0
}

// flush writes what h holds. False: the stream is over.
func (l *loop) flush(s *Stream, d int) bool {
	dst, h := &s.ends[1-d], &s.half[d]
	for h.pending() {
		var n int
		var err unix.Errno
		dst.speaks()
		if len(h.rest) > 0 {
			if n, err = send(dst.fd, h.rest); n == len(h.rest) {
				l.giveBack(h)
			} else {
				h.rest = h.rest[n:]
			}
		} else {
			n, err = splice(h.pipe.r, dst.fd, h.pipe.n)
			h.pipe.n -= n
		}
		l.sent(s, h, n)
		if err == unix.EAGAIN {
			dst.flags &^= writable
			return true
		}
		if err != 0 {
			l.fail(s, Side(2-d), err)
			return false
		}
	}
	return true
}

func (l *loop) sent(s *Stream, h *half, n int) {
	h.moved.Store(h.moved.Load() + int64(n))
	s.last = l.now
}

func (l *loop) sawEOF(s *Stream, d int) {
	s.ends[d].flags |= ended
	s.ends[d].flags &^= readable
	s.last = l.now
	if s.first == Neither {
		s.first = Side(d + 1)
	}
}

// passEOF tells the receiver of direction d that all was sent. False: the other
// direction is through too, and so the stream is over.
func (l *loop) passEOF(s *Stream, d int) bool {
	dst := &s.ends[1-d]
	if dst.is(ended) && !s.half[1-d].pending() {
		l.finish(s, false, Result{Reason: EOF, Side: s.first})
		return false
	}
	if !dst.is(shut) {
		dst.flags |= shut
		if err := shutdownWrite(dst.fd); err != 0 && err != unix.ENOTCONN {
			l.fail(s, Side(2-d), err)
			return false
		}
	}
	return true
}
