// Package descriptors keeps some of the process's file descriptors for what has
// to go on when clients have taken all others: whoever asks the admin API why,
// and the files of a reload.
//
// The kernel gives the lowest number that is free (open(2)), so that the number
// of a new descriptor tells how many there are at least.
package descriptors

import (
	"math"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds are the numbers from which on descriptors are kept back. The zero
// Bounds keep all of them.
type Bounds struct {
	Accept int32 // no further client is taken in at this number
	Serve  int32 // nothing is opened for a client at this number, which is larger
}

// Kept are the descriptors that nothing for clients takes, and those that only
// clients who are in do, unless there are fewer than eight times as many at all.
const (
	keptBack  = 24
	keptForIn = 40
)

// Now returns the bounds under the process's limit (RLIMIT_NOFILE).
func Now() Bounds {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = math.MaxInt32 // the kernel will say when there are none
	}
	return under(int32(min(limit.Cur, math.MaxInt32)))
}

func under(most int32) Bounds {
	serve := most - min(keptBack, most/8)
	return Bounds{Accept: serve - min(keptForIn, most/8), Serve: serve}
}

// Affords reports whether a descriptor may serve a client.
func (b Bounds) Affords(fd int) bool { return int64(fd) < int64(b.Serve) }

// Take is for descriptors that were just made, to serve a client: where one is
// of those kept back, it closes them all and fails with EMFILE.
func (b Bounds) Take(fds ...int) error {
	if b.Affords(slices.Max(fds)) {
		return nil
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return unix.EMFILE
}

// Control refuses a socket that is kept back, for [net.Dialer].
func (b Bounds) Control(_, _ string, raw syscall.RawConn) error {
	affords := false
	if err := raw.Control(func(fd uintptr) { affords = b.Affords(int(fd)) }); err != nil {
		return err
	}
	if !affords {
		return os.NewSyscallError("socket", unix.EMFILE)
	}
	return nil
}

// Next returns the number that a new descriptor would have now, MaxInt32 where
// there can be none.
func Next(any int) int32 {
	fd, err := unix.FcntlInt(uintptr(any), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return math.MaxInt32
	}
	unix.Close(fd)
	return int32(fd)
}
