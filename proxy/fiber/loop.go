// Package fiber runs code that is written as if it blocked on sockets, on
// event loops: a Read that has to wait hands the thread to other connections
// at the cost of a function call or two, instead of parking a goroutine.
//
//	loop, err := fiber.New()
//	go loop.Run()
//	conn, err := loop.Take(tcp)            // a net.Conn of this loop
//	loop.Post(func() { conn.OnReadable(func() { serve(conn) }) })
//	...
//	func serve(conn *fiber.Conn) {
//		n, err := conn.Read(buf)           // other fibers run meanwhile
//		loop.Leave(func() { look up a name }) // what really blocks
//	}
//
// Everything of a loop runs on one goroutine at a time, so its fibers share
// state without locks. A connection that waits by OnReadable has no fiber:
// it costs a few hundred bytes. Fibers are the runtime's coroutines
// (iter.Pull), kept for the next job when theirs is done.
package fiber

import (
	"iter"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
	"genkan/proxy/internal/thread"
)

const (
	maxSpare = 128 // fibers kept for the next job
	hotWait  = 5   // milliseconds that a busy loop waits with its thread
	turn     = 64  // reads and writes that a fiber makes before others run
)

// A Loop is one event loop. Use New.
type Loop struct {
	epoll, wake int
	conns       []*Conn // by slot; nil: free
	free        []int32
	gen         int32
	current     *fiber
	spare       []*fiber
	again       []*fiber     // had their turn
	jobs        []func()     // to be started
	spareAgain  []*fiber     // room for the next turn's
	spareJobs   []func()     // the same
	spareInbox  []func()     // the same
	running     int          // fibers that have a job
	pipes       []kernelPipe // spare ones
	lent        int          // pipes in use
	bounds      descriptors.Bounds
	events      [256]unix.EpollEvent
	stopping    bool
	done        chan struct{}

	mu     sync.Mutex // guards what follows
	inbox  []func()
	asleep bool // the loop waits, or is about to
	closed bool
}

// A fiber is a coroutine and its present job.
type fiber struct {
	resume func() (struct{}, bool)
	yield  func(struct{}) bool
	job    func()
	ops    int // since it last let others run
}

// New returns a Loop; Run makes it work and Close ends it.
func New() (*Loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err == nil {
		// Edge-triggered, each write is an event: nobody has to read it.
		err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&(1<<32-1), Fd: -1})
	}
	if err != nil {
		unix.Close(ep)
		return nil, err
	}
	return &Loop{epoll: ep, wake: wake, bounds: descriptors.Now(), done: make(chan struct{})}, nil
}

// Run serves until Close. The caller owns the goroutine.
func (l *Loop) Run() {
	thread.Own()
	defer close(l.done)
	hot := false
	for {
		n := l.await(hot)
		hot = n > 0 || hot && n < 0
		for i := range max(n, 0) {
			l.dispatch(&l.events[i])
		}
		if l.takeInbox()+l.turns() > 0 {
			hot = true
		}
		if l.stopping && l.running == 0 {
			l.release()
			return
		}
	}
}

// await waits for events. A busy loop keeps its thread and the scheduler's
// processor: giving them up costs more than the wait. (The runtime's signal
// ends the wait where it needs them.)
func (l *Loop) await(hot bool) int {
	switch {
	case len(l.again)+len(l.jobs) > 0 || !l.doze():
		return epollWaitRaw(l.epoll, l.events[:], 0)
	case hot:
		return epollWaitRaw(l.epoll, l.events[:], hotWait)
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], int(time.Second/time.Millisecond))
	if err != nil {
		return -1
	}
	return n
}

// dispatch wakes who waited for an event.
func (l *Loop) dispatch(ev *unix.EpollEvent) {
	if ev.Fd < 0 {
		return // of Post: the inbox is looked at in any case
	}
	c := l.conns[ev.Fd]
	if c == nil || c.gen != ev.Pad {
		return // closed earlier in this batch
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.readable = true
		// The end is told once, maybe together with the last bytes.
		c.ended = c.ended || ev.Events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0
		c.wakeReader()
	}
	if ev.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.writable = true
		c.wakeWriter()
	}
}

// turns lets those go on that had let others run, and starts new jobs. It
// returns how many.
func (l *Loop) turns() int {
	again, jobs := l.again, l.jobs
	l.again, l.jobs = l.spareAgain[:0], l.spareJobs[:0]
	for _, f := range again {
		l.run(f)
	}
	for _, job := range jobs {
		l.Go(job)
	}
	clear(again)
	clear(jobs)
	l.spareAgain, l.spareJobs = again, jobs
	return len(again) + len(jobs)
}

// Post has f called on the loop, from any goroutine. f must not wait; to
// wait, it starts a fiber by Go. It is false after Close.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.inbox = append(l.inbox, f)
	if l.asleep {
		l.asleep = false
		unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return true
}

// doze makes Post wake the loop from now on. It is false where there is
// something to do first.
func (l *Loop) doze() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = len(l.inbox) == 0
	return l.asleep
}

// takeInbox calls what was posted, and returns how much.
func (l *Loop) takeInbox() int {
	l.mu.Lock()
	l.asleep = false
	inbox := l.inbox
	l.inbox = l.spareInbox[:0]
	l.mu.Unlock()
	for _, f := range inbox {
		f()
	}
	clear(inbox)
	l.spareInbox = inbox
	return len(inbox)
}

// Go runs job in a fiber. It is called on the loop, and returns when the job
// first waits, or is done.
func (l *Loop) Go(job func()) {
	var f *fiber
	if n := len(l.spare); n > 0 {
		f = l.spare[n-1]
		l.spare = l.spare[:n-1]
	} else {
		f = newFiber()
	}
	f.job = job
	l.running++
	l.run(f)
}

// Later runs job in a fiber of its own, soon. It is called on the loop.
func (l *Loop) Later(job func()) { l.jobs = append(l.jobs, job) }

func newFiber() *fiber {
	f := &fiber{}
	f.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
		f.yield = yield
		for f.job != nil {
			f.job()
			f.job = nil
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return f
}

// run lets f go on until it waits or its job is done.
func (l *Loop) run(f *fiber) {
	before := l.current
	l.current = f
	f.ops = 0
	f.resume()
	l.current = before
	if f.job != nil {
		return
	}
	l.running--
	if len(l.spare) < maxSpare {
		l.spare = append(l.spare, f)
	} else {
		f.resume() // without a job it ends
	}
}

// pause lets others run where the present fiber had its turn.
func (l *Loop) pause() {
	f := l.current
	if f.ops++; f.ops > turn {
		l.again = append(l.again, f)
		f.yield(struct{}{})
	}
}

// Leave runs f, which may block, in a goroutine, while the calling fiber
// waits for it.
func (l *Loop) Leave(f func()) {
	me := l.current
	go func() {
		f()
		l.Post(func() { l.run(me) })
	}()
	me.yield(struct{}{})
}

// Close ends the loop once the last fiber is done; whoever has connections on
// it ends them before. It returns when Run has.
func (l *Loop) Close() {
	l.Post(func() { l.stopping = true })
	<-l.done
}

// release undoes New and ends the spare fibers.
func (l *Loop) release() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	for _, f := range l.spare {
		f.resume()
	}
	l.spare = nil
	for _, p := range l.pipes {
		closeFD(p.r)
		closeFD(p.w)
	}
	l.pipes = nil
	unix.Close(l.wake)
	unix.Close(l.epoll)
}
