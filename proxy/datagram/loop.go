package datagram

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
	"genkan/proxy/internal/thread"
)

// Loops are the loops of a program.
type Loops struct {
	loops  []*loop
	bounds descriptors.Bounds
	turn   atomic.Uint32
	done   sync.WaitGroup
}

// A loop serves its sockets on one goroutine.
type loop struct {
	epoll int
	wakes int // an eventfd: something is in closing
	batch Batch
	turns atomic.Uint64 // of run, for Alive

	mu      sync.Mutex // guards the fields below
	sockets map[int32]*Socket
	closing []*Socket
	pausing []pausing
	quit    bool
	ended   bool // wakes may be another's descriptor by now
}

// NewLoops starts n loops, one a core if n is zero. A busy loop keeps its P
// while it waits, so GOMAXPROCS is raised where it does not leave room for these
// loops, as many of package pipe, and the rest of the program.
func NewLoops(n int) (*Loops, error) {
	if n <= 0 {
		n = runtime.NumCPU()
	}
	ls := &Loops{bounds: descriptors.Now()}
	for range n {
		l, err := newLoop()
		if err != nil {
			ls.Close()
			return nil, err
		}
		ls.loops = append(ls.loops, l)
		ls.done.Go(l.run)
	}
	if want := 2*n + 2; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	return ls, nil
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("datagram: %w", os.NewSyscallError("epoll_create1", err))
	}
	wakes, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("datagram: %w", os.NewSyscallError("eventfd", err))
	}
	l := &loop{epoll: epoll, wakes: wakes, sockets: map[int32]*Socket{}}
	l.batch.prepare()
	if err := l.watch(int32(wakes)); err != nil {
		unix.Close(epoll)
		unix.Close(wakes)
		return nil, fmt.Errorf("datagram: %w", err)
	}
	return l, nil
}

// Close closes all sockets, and returns when all handlers have been told so
// and the loops have ended.
func (ls *Loops) Close() {
	for _, l := range ls.loops {
		l.mu.Lock()
		l.quit = true
		l.wake()
		l.mu.Unlock()
	}
	ls.done.Wait()
}

func (ls *Loops) next() *loop { return ls.loops[int(ls.turn.Add(1))%len(ls.loops)] }

func (l *loop) watch(fd int32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, int(fd), &event))
}

// add makes s one of l's sockets.
func (l *loop) add(s *Socket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quit {
		return net.ErrClosed
	}
	l.sockets[s.fd] = s
	if err := l.watch(s.fd); err != nil {
		delete(l.sockets, s.fd)
		return err
	}
	return nil
}

// wake ends the loop's wait. l.mu is held.
func (l *loop) wake() {
	if !l.ended {
		unix.Write(l.wakes, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// run serves until quit.
func (l *loop) run() {
	thread.Own()
	defer unix.Close(l.epoll)
	defer unix.Close(l.wakes)
	var events [128]unix.EpollEvent
	for {
		l.turns.Add(1)
		n := l.wait(events[:])
		for i := range n {
			if events[i].Fd == int32(l.wakes) {
				var count [8]byte
				unix.Read(l.wakes, count[:])
				continue
			}
			l.serve(events[i].Fd)
		}
		if l.bury() {
			return
		}
	}
}

// How long a loop that had work waits without telling the scheduler.
const busyWait = 2 // ms

// wait gives the events that are there. First it waits by a raw system call,
// which costs a third less than one that the Go scheduler is told of; if that
// brings nothing, by an ordinary one.
func (l *loop) wait(events []unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), busyWait, 0, 0)
		if errno == 0 && n > 0 {
			return int(n)
		}
		if errno == unix.EINTR {
			continue
		}
		more, err := unix.EpollWait(l.epoll, events, -1)
		if err == nil {
			return more
		}
		if !errors.Is(err, unix.EINTR) {
			return 0
		}
	}
}

// serve receives what one socket has, or its error. It is level-triggered:
// what is left makes another event.
func (l *loop) serve(fd int32) {
	l.mu.Lock()
	s := l.sockets[fd]
	l.mu.Unlock()
	if s == nil || s.dead.Load() {
		return
	}
	switch err := l.batch.receive(uintptr(fd)); err {
	case nil:
		s.handler.Datagrams(&l.batch)
	case unix.EAGAIN, unix.EINTR:
	default:
		s.handler.Failed(err)
	}
}

// bury closes the sockets that are to be closed, and tells whether the loop
// shall end. Only here are descriptors closed: the events of a pass never mean
// another socket than they were for.
func (l *loop) bury() (quit bool) {
	l.mu.Lock()
	closing, paused := l.closing, l.pausing
	l.closing, l.pausing = nil, nil
	if quit = l.quit; quit {
		l.ended = true
		closing = slices.Collect(maps.Values(l.sockets)) // those of closing included
	}
	for _, s := range closing {
		delete(l.sockets, s.fd)
	}
	l.mu.Unlock()
	for _, p := range paused {
		unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(p.socket.fd), nil)
		close(p.done)
	}
	for _, s := range closing {
		s.dead.Store(true)
		s.mu.Lock()
		unix.Close(int(s.fd))
		s.gone = true
		s.mu.Unlock()
		s.handler.Closed()
	}
	return quit
}
