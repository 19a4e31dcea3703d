package pipe

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"genkan/proxy/internal/thread"
)

const (
	tick     = 100 * time.Millisecond // the grain of all limits
	hotWait  = 10                     // milliseconds of a raw wait
	restTick = 2                      // how long a listener rests, in ticks
	maxPlain = 64                     // spare buffers kept by a loop
)

// A loop serves its streams on one goroutine.
type loop struct {
	engine *Engine
	epoll  int
	wake   int // eventfd

	epoch    time.Time
	now      uint32 // ticks since epoch, as of the last wait
	scratch  *buffer
	spare    []*buffer
	pipes    pipePool
	wheel    wheel
	again    []*Stream // had more to move than their turn allowed
	dead     []uint32  // table entries that are free after this batch of events
	resting  []rest    // listeners that failed
	full     bool      // the client accepted last has one of the last descriptors
	events   [128]unix.EpollEvent
	peer     unix.RawSockaddrAny // of the client just accepted
	conn     Conn                // likewise
	stopping bool
	passes   atomic.Uint64 // of run, for Alive

	table table

	mu        sync.Mutex // guards what is below
	closed    bool
	cuts      []*Stream
	listeners map[int32]*Listener
}

// socketEvents are all that a stream's socket can tell, once per change.
const socketEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET&(1<<32-1)

// What an epoll event is about stands in the second half of its 64 bits; the
// first half is a table index (client, backend) or a descriptor (listener).
const (
	aboutClient = iota
	aboutBackend
	aboutWake
	aboutListener
)

func newLoop(e *Engine, cfg Config) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(ep)
		return nil, err
	}
	l := &loop{
		engine:    e,
		epoll:     ep,
		wake:      wake,
		epoch:     time.Now(),
		scratch:   newBuffer(e.buffer),
		pipes:     pipePool{limit: cfg.Pipes, bounds: e.bounds},
		listeners: make(map[int32]*Listener),
	}
	if err := l.watch(int32(wake), aboutWake, int32(wake), unix.EPOLLIN); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

func (l *loop) release() {
	l.pipes.close()
	unix.Close(l.wake)
	unix.Close(l.epoll)
}

// watch registers fd once and for all.
func (l *loop) watch(fd, about, index int32, events uint32) error {
	return watch(l.epoll, fd, events, index, about)
}

// run serves until stop.
func (l *loop) run() {
	thread.Own()
	defer l.release()
	hot := false
	for {
		l.passes.Add(1)
		n := l.await(&hot)
		for i := range n {
			l.dispatch(&l.events[i])
		}
		l.turns()
		l.checkLimits()
		l.wakeListeners()
		l.table.free(l.dead)
		l.dead = l.dead[:0]
		if l.stopping {
			l.leave()
			return
		}
	}
}

// await returns the number of events. See the package comment, Waiting.
func (l *loop) await(hot *bool) int {
	n := 0
	if *hot || len(l.again) > 0 {
		ms := hotWait
		if len(l.again) > 0 {
			ms = 0
		}
		n = epollWaitRaw(l.epoll, l.events[:], ms)
		*hot = n != 0
	} else {
		n = epollWait(l.epoll, l.events[:], l.nextTick())
		*hot = n > 0
	}
	l.now = uint32(time.Since(l.epoch) / tick)
	return max(n, 0) // EINTR: nothing happened
}

// nextTick returns how many milliseconds a loop without work may sleep.
func (l *loop) nextTick() int {
	t, ok := l.wheel.next()
	if len(l.resting) > 0 {
		t, ok = min(t, restTick), true
	}
	if !ok {
		return -1
	}
	return int(t) * int(tick/time.Millisecond)
}

func (l *loop) dispatch(ev *unix.EpollEvent) {
	switch ev.Pad {
	case aboutWake:
		drainWake(l.wake)
		l.cut()
		return
	case aboutListener:
		l.accept(ev.Fd)
		return
	}
	s := l.table.at(uint32(ev.Fd))
	if s == nil {
		return // ended earlier in this batch
	}
	e := &s.ends[ev.Pad]
	if ev.Events&(unix.EPOLLIN|unix.EPOLLPRI|unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		e.flags |= readable
	}
	if ev.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		e.flags |= writable
	}
	if ev.Events&unix.EPOLLRDHUP != 0 {
		e.flags |= hangup
	}
	if ev.Events&unix.EPOLLPRI != 0 {
		e.flags |= urgent
	}
	if ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		e.flags |= broken
	}
	if !s.ends[1].is(added) && !l.adopt(s) {
		return
	}
	if s.dial != nil && !l.connected(s) {
		return
	}
	l.move(s)
}

// adopt is what a loop does first with a stream that another goroutine handed
// over: only the client's socket is watched then.
func (l *loop) adopt(s *Stream) bool {
	l.start(s)
	if s.dial != nil {
		return l.connect(s)
	}
	return l.join(s, 1) && l.greet(s)
}

// join watches one more socket of s.
func (l *loop) join(s *Stream, side int32) bool {
	e := &s.ends[side]
	if err := l.watch(e.fd, side, int32(s.index), socketEvents); err != nil {
		l.abort(s, Result{Reason: Failed, Side: Side(side + 1), Err: err})
		return false
	}
	e.flags |= added
	return true
}

// add takes a stream from another goroutine. The first event (a fresh socket is
// writable at once) brings it to the loop's own.
func (l *loop) add(s *Stream) {
	s.loop = l
	if r := l.admit(s); r.Reason != 0 {
		s.close(true)
		l.engine.finish(s, r)
	}
}

func (l *loop) admit(s *Stream) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Result{Reason: Shutdown}
	}
	fd := s.ends[0].fd
	s.ends[0].flags |= added
	if !l.table.put(s) { // the loop may see s from here on
		return Result{Reason: Failed, Err: errFull}
	}
	if err := l.watch(fd, aboutClient, int32(s.index), socketEvents); err != nil {
		l.table.clear(s.index)
		l.table.free([]uint32{s.index})
		return Result{Reason: Failed, Side: Client, Err: err}
	}
	return Result{}
}

// post asks the loop to cut s.
func (l *loop) post(s *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.cuts = append(l.cuts, s)
	ring(l.wake)
}

func (l *loop) cut() {
	l.mu.Lock()
	cuts := l.cuts
	l.cuts = nil
	l.stopping = l.closed
	l.mu.Unlock()
	for _, s := range cuts {
		if !s.over {
			l.abort(s, Result{Reason: Cut})
		}
	}
}

// stop makes run return. It may be called twice.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		ring(l.wake)
	}
}

// leave ends what is left, once stop was called.
func (l *loop) leave() {
	l.table.each(func(s *Stream) {
		l.abort(s, Result{Reason: Shutdown})
	})
}
