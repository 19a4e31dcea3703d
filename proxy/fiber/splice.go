package fiber

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is asked for each pipe: so much may be under way at once. A loop
// lends at most maxLent of them (slow clients hold theirs for long, and each
// takes two descriptors) and keeps maxPipes for the next.
const (
	pipeSize = 256 << 10
	maxLent  = 256
	maxPipes = 8
)

// A kernelPipe is lent to a fiber while the kernel moves its bytes.
type kernelPipe struct{ r, w int32 }

// takePipe gives an empty pipe, or fails where there are no descriptors.
func (l *Loop) takePipe() (kernelPipe, error) {
	if l.lent >= maxLent {
		return kernelPipe{}, ErrNoPipe
	}
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		l.lent++
		return p, nil
	}
	var fds [2]int
	err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err == nil {
		err = l.bounds.Take(fds[:]...)
	}
	if err != nil {
		return kernelPipe{}, os.NewSyscallError("pipe2", err)
	}
	// A user over his pipe-user-pages-soft keeps the size that he got.
	l.lent++
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return kernelPipe{int32(fds[0]), int32(fds[1])}, nil
}

// putPipe takes a pipe back; one that still holds bytes is closed.
func (l *Loop) putPipe(p kernelPipe, empty bool) {
	l.lent--
	if empty && len(l.pipes) < maxPipes {
		l.pipes = append(l.pipes, p)
		return
	}
	closeFD(p.r)
	closeFD(p.w)
}

// SpliceFrom moves n bytes from src, a connection of the same loop, without
// their passing through the program, and returns how many it has sent. The end
// of src before that is io.ErrUnexpectedEOF; ErrNoPipe means that nothing was
// moved. progress is called whenever some bytes were sent.
func (c *Conn) SpliceFrom(src *Conn, n int64, progress func()) (sent int64, err error) {
	p, err := c.loop.takePipe()
	if err != nil {
		return 0, ErrNoPipe
	}
	held := int64(0) // bytes in the pipe
	for sent < n && err == nil {
		if held == 0 {
			if held, err = src.fillPipe(p, n-sent); err != nil {
				break
			}
		}
		var moved int64
		moved, err = c.drainPipe(p, held, progress)
		sent += moved
		held -= moved
	}
	c.loop.putPipe(p, held == 0)
	return sent, err
}

// ErrNoPipe is a SpliceFrom without a pipe.
var ErrNoPipe error = noPipeError{}

type noPipeError struct{}

func (noPipeError) Error() string { return "no pipe to be had" }

// spliceCost is how many turns of a fiber a splice counts for: it moves as
// much as so many reads.
const spliceCost = 8

// fillPipe waits for bytes and moves up to n into the pipe.
func (c *Conn) fillPipe(p kernelPipe, n int64) (int64, error) {
	c.loop.current.ops += spliceCost
	c.loop.pause()
	for {
		if err := c.WaitRead(); err != nil {
			return 0, err
		}
		got, errno := splice(c.fd, p.w, n)
		switch {
		case errno == unix.EAGAIN:
			c.readable = false
		case errno != 0:
			return 0, os.NewSyscallError("splice", errno)
		case got == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			return got, nil
		}
	}
}

// drainPipe moves n bytes out of the pipe.
func (c *Conn) drainPipe(p kernelPipe, n int64, progress func()) (sent int64, err error) {
	for sent < n {
		if c.lateWrite.Load() {
			return sent, os.ErrDeadlineExceeded
		}
		got, errno := splice(p.r, c.fd, n-sent)
		switch {
		case errno == unix.EAGAIN:
			if err := c.waitWrite(); err != nil {
				return sent, err
			}
		case errno != 0:
			return sent, os.NewSyscallError("splice", errno)
		default:
			progress()
		}
		sent += got
	}
	return sent, nil
}
