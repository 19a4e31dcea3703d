package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A load speaks to a contestant over many connections from one thread.
type load struct {
	target netip.AddrPort
	meter  session // of the contestant
	begun  time.Time
	before time.Duration // CPU that it had used then
	ep     int
	slots  map[int32]*slot
	answer []byte

	answerSize int
	done       int
	failed     int
	bytes      int64           // bulk
	waits      []time.Duration // one an exchange
}

// A slot is one connection.
type slot struct {
	fd    int
	got   int         // bytes of the answer so far
	busy  bool        // a request is under way
	begun time.Time   // when it was due
	queue []time.Time // requests that are due but must wait for the answer
}

// A tally is what a load has done.
type tally struct {
	exchanges int
	failures  int
	bytes     int64
	elapsed   time.Duration
	cpu       time.Duration // that the contestant used meanwhile
	p50, p99  time.Duration
}

func newLoad(c *contestant) (*load, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &load{target: c.listen, meter: c.session(), ep: ep, slots: map[int32]*slot{}, answer: make([]byte, 64<<10), answerSize: answerSize}, nil
}

func (l *load) close() {
	for fd := range l.slots {
		unix.Close(int(fd))
	}
	unix.Close(l.ep)
}

const (
	onChange = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET&(1<<32-1)
	onBytes  = unix.EPOLLIN
)

// open connects one more slot, kind as in socket(2); without SOCK_NONBLOCK it
// waits for the connection.
func (l *load) open(kind int, events uint32) (*slot, error) {
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if kind&^unix.SOCK_NONBLOCK == unix.SOCK_STREAM {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	err = unix.Connect(fd, &unix.SockaddrInet6{Port: int(l.target.Port()), Addr: l.target.Addr().As16()})
	if err == nil && kind&unix.SOCK_NONBLOCK == 0 {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", l.target, err)
	}
	s := &slot{fd: fd}
	l.slots[int32(fd)] = s
	return s, watch(l.ep, fd, events)
}

var request = [requestSize]byte{'X'}

func (l *load) send(s *slot, due time.Time) {
	s.busy, s.got, s.begun = true, 0, due
	if n, err := unix.Write(s.fd, request[:]); n != len(request) || err != nil {
		l.failed++
	}
}

// receive reads what is there. It tells whether the answer is complete.
func (l *load) receive(s *slot, now time.Time) bool {
	n, err := unix.Read(s.fd, l.answer)
	if err == unix.EAGAIN {
		return false
	}
	if err != nil || n == 0 {
		l.failed++
		s.busy = false
		return false
	}
	s.got += n
	if s.got < l.answerSize {
		return false
	}
	s.busy = false
	l.done++
	l.waits = append(l.waits, now.Sub(s.begun))
	return true
}

// wait returns the slots that something happened to, until t at the latest.
func (l *load) wait(events []unix.EpollEvent, t time.Time) []unix.EpollEvent {
	ts := unix.NsecToTimespec(max(int64(time.Until(t)), 0))
	n, _, err := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if err != 0 {
		return nil
	}
	return events[:n]
}

// A drive is how a load keeps its connections busy.
type drive struct {
	kind  int // SOCK_STREAM or SOCK_DGRAM
	conns int
	time  time.Duration
	rate  float64 // requests a second over all connections; 0: each at once when it has its answer
}

// lost is when a datagram's answer is not waited for any more.
const lost = 200 * time.Millisecond

// exchange keeps connections busy: one request under way on each.
func exchange(c *contestant, how drive) (tally, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l, err := newLoad(c)
	if err != nil {
		return tally{}, err
	}
	defer l.close()
	if how.kind == unix.SOCK_DGRAM {
		l.answerSize = requestSize
	}
	order := make([]*slot, how.conns)
	for i := range order {
		if order[i], err = l.open(how.kind, onChange); err != nil {
			return tally{}, err
		}
	}
	begin, err := l.begin()
	if err != nil {
		return tally{}, err
	}
	due, step := begin, time.Duration(0)
	if how.rate > 0 {
		step = time.Duration(float64(time.Second) / how.rate)
	}
	turn, sweep := 0, begin
	events := make([]unix.EpollEvent, 256)
	for now := begin; now.Sub(begin) < how.time; now = time.Now() {
		for ; step > 0 && !due.After(now); due = due.Add(step) {
			if s := order[turn%how.conns]; s.busy {
				s.queue = append(s.queue, due)
			} else {
				l.send(s, due)
			}
			turn++
		}
		if step == 0 && !now.Before(sweep) { // the first, and those that were lost
			for _, s := range order {
				if !s.busy || (how.kind == unix.SOCK_DGRAM && now.Sub(s.begun) > lost) {
					l.send(s, now)
				}
			}
			sweep = now.Add(lost)
			due = sweep
		}
		l.answers(l.wait(events, due), step == 0)
	}
	return l.tally()
}

// answers reads what came, and sends what has waited for it.
func (l *load) answers(ready []unix.EpollEvent, again bool) {
	now := time.Now()
	for i := range ready {
		s := l.slots[ready[i].Fd]
		if !s.busy || !l.receive(s, now) {
			continue
		}
		if again {
			l.send(s, now)
		} else if len(s.queue) > 0 {
			l.send(s, s.queue[0])
			s.queue = s.queue[1:]
		}
	}
}

// begin starts the clocks.
func (l *load) begin() (time.Time, error) {
	var err error
	l.before, err = l.meter.cpu()
	l.begun = time.Now()
	return l.begun, err
}

// tally stops the clocks. The connections are still there, and so are the
// processes of a contestant that forks.
func (l *load) tally() (tally, error) {
	t := tally{exchanges: l.done, failures: l.failed, bytes: l.bytes, elapsed: time.Since(l.begun)}
	after, err := l.meter.cpu()
	t.cpu = after - l.before
	slices.Sort(l.waits)
	if n := len(l.waits); n > 0 {
		t.p50, t.p99 = l.waits[n/2], l.waits[n*99/100]
	}
	return t, err
}

// reconnect keeps conns clients busy that connect, exchange once and close.
func reconnect(c *contestant, conns int, d time.Duration) (tally, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l, err := newLoad(c)
	if err != nil {
		return tally{}, err
	}
	defer l.close()
	begin, err := l.begin()
	if err != nil {
		return tally{}, err
	}
	for range conns {
		s, err := l.open(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, onChange)
		if err != nil {
			return tally{}, err
		}
		s.begun = begin
	}
	end := begin.Add(d)
	events := make([]unix.EpollEvent, 256)
	for now := begin; now.Before(end); {
		ready := l.wait(events, end)
		now = time.Now()
		for i := range ready {
			s := l.slots[ready[i].Fd]
			if !s.busy && ready[i].Events&unix.EPOLLOUT != 0 {
				l.send(s, s.begun)
			}
			failed := l.failed
			if ready[i].Events&unix.EPOLLIN == 0 || (!l.receive(s, now) && l.failed == failed) {
				continue
			}
			delete(l.slots, int32(s.fd))
			unix.Close(s.fd)
			next, err := l.open(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, onChange)
			if err != nil {
				return tally{}, err
			}
			next.begun = now
		}
	}
	return l.tally()
}

// bulk takes all that the backend sends over conns connections for d.
func bulk(c *contestant, conns int, d time.Duration) (tally, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l, err := newLoad(c)
	if err != nil {
		return tally{}, err
	}
	defer l.close()
	for range conns {
		s, err := l.open(unix.SOCK_STREAM, onBytes)
		if err != nil {
			return tally{}, err
		}
		if _, err := unix.Write(s.fd, []byte{bulkByte}); err != nil {
			return tally{}, err
		}
	}
	begin, err := l.begin()
	if err != nil {
		return tally{}, err
	}
	end := begin.Add(d)
	events := make([]unix.EpollEvent, 256)
	for time.Now().Before(end) {
		ready := l.wait(events, end)
		for i := range ready {
			n, err := discard(int(ready[i].Fd))
			if err == unix.EAGAIN {
				continue
			}
			if err != nil || n == 0 {
				return tally{}, fmt.Errorf("bulk: the contestant ended a connection: %v", err)
			}
			l.bytes += int64(n)
		}
	}
	return l.tally()
}

// discard takes bytes from a socket without copying them (tcp(7), MSG_TRUNC).
func discard(fd int) (int, error) {
	n, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 1<<20, unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}
