package user

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errStopped is what a wait ends with when its alarm rings.
var errStopped = errors.New("stopped")

// An alarm ends the waits of all who know it, once and for all.
//
// Those waits are poll(2) on descriptors of which Go's poller knows nothing. It
// would have the kernel call back for each packet that comes or has left, wanted
// or not, and take another two wakeups to run us: a third of the CPU time. poll
// asks only when there is nothing to be done.
//
// The calls in between do not block, so they are RawSyscalls. The scheduler
// would take the processor away from one that takes longer than 20 µs, as a
// batch does, and wake threads to hand it over and back.
type alarm struct{ fd int }

func newAlarm() (*alarm, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &alarm{fd: fd}, nil
}

// ring wakes everybody, those who come later too.
func (a *alarm) ring() { _, _ = unix.Write(a.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// reset ends ring.
func (a *alarm) reset() {
	var count [8]byte
	_, _ = unix.Read(a.fd, count[:]) // EAGAIN: it has not rung
}

func (a *alarm) close() error { return unix.Close(a.fd) }

// wait returns when fd is ready for the events of poll(2), or has an error that
// the next call will tell; errStopped once the alarm has rung.
func (a *alarm) wait(fd int, events int16) error {
	for {
		fds := [2]unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(a.fd), Events: unix.POLLIN}}
		_, err := unix.Poll(fds[:], -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return errStopped
		}
		return nil
	}
}
