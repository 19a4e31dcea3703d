package pipe

import "time"

// wheelSlots × tick is how far a wheel can see: 409.6 s. What is due later is
// looked at on the way, twice an idle stream's ten minutes.
const wheelSlots = 4096

// A wheel holds the streams of one loop by when their limits must be looked at.
// A byte moved does not touch it: it only sets Stream.last, and the visit that
// comes too early puts the stream in again.
type wheel struct {
	now   uint32 // the tick advanced to
	count int
	slots [wheelSlots]*Stream
}

// put enters s to be visited at tick due, or as late as the wheel can see.
func (w *wheel) put(s *Stream, due uint32) {
	wait := min(max(due, w.now+1)-w.now, wheelSlots-1)
	s.slot = int32((w.now + wait) % wheelSlots)
	head := &w.slots[s.slot]
	s.prev, s.next = nil, *head
	if s.next != nil {
		s.next.prev = s
	}
	*head = s
	w.count++
}

// remove takes s out, if it is in.
func (w *wheel) remove(s *Stream) {
	if s.slot < 0 {
		return
	}
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		w.slots[s.slot] = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.slot = nil, nil, -1
	w.count--
}

// next returns in how many ticks the next visit is due. False: never.
func (w *wheel) next() (uint32, bool) {
	if w.count == 0 {
		return 0, false
	}
	for i := uint32(1); i < wheelSlots; i++ {
		if w.slots[(w.now+i)%wheelSlots] != nil {
			return i, true
		}
	}
	return wheelSlots, true
}

// ticks rounds a limit up; zero and less is no limit.
func ticks(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d+tick-1)/tick, 1<<30)) + 1 // the present tick is partly over
}

// checkLimits visits the streams whose tick has come.
func (l *loop) checkLimits() {
	w := &l.wheel
	if l.now-w.now > wheelSlots {
		w.now = l.now - wheelSlots // slept longer than the wheel is round
	}
	for w.now < l.now {
		w.now++
		for s := w.slots[w.now%wheelSlots]; s != nil; s = w.slots[w.now%wheelSlots] {
			w.remove(s)
			l.visit(s)
		}
	}
}

// visit ends s where a limit is over, else enters it again.
func (l *loop) visit(s *Stream) {
	switch {
	case s.life != 0 && l.now >= s.life:
		l.abort(s, Result{Reason: Lifetime})
	case s.dial != nil && l.now >= s.dial.by:
		l.unreachable(s, errNoAnswer)
	case s.dial != nil:
		l.schedule(s)
	case s.idle != 0 && l.now >= s.last+s.idle:
		l.abort(s, Result{Reason: Idle})
	default:
		// A stream that lives until its first visit is worth the system calls
		// that find out whether its peers do; most streams never come here.
		keepAlive(s)
		l.schedule(s)
	}
}

// schedule enters s for when its next limit may be over.
func (l *loop) schedule(s *Stream) {
	due := l.now + wheelSlots
	switch {
	case s.dial != nil:
		due = min(due, s.dial.by)
	case s.idle != 0:
		due = min(due, s.last+s.idle)
	}
	if s.life != 0 {
		due = min(due, s.life)
	}
	l.wheel.put(s, due)
}
