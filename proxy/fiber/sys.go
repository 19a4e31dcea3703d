package fiber

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below cannot block, so the scheduler is not told (RawSyscall).

// recv reads what is there. n = 0 without an error is end of file.
func recv(fd int32, p []byte, flags uintptr) (int, unix.Errno) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|flags, 0, 0)
		if err != unix.EINTR {
			return count(n, err), err
		}
	}
}

// send writes what the socket takes.
func send(fd int32, p []byte) (int, unix.Errno) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if err != unix.EINTR {
			return count(n, err), err
		}
	}
}

func count(n uintptr, err unix.Errno) int {
	if err != 0 {
		return 0
	}
	return int(n)
}

// epollWaitRaw waits with this thread and the scheduler's processor; -1 is an
// interrupted wait.
func epollWaitRaw(ep int, events []unix.EpollEvent, ms int) int {
	n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if err != 0 {
		return -1
	}
	return int(n)
}

func closeFD(fd int32) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// splice moves up to n bytes between a pipe and a socket.
func splice(from, to int32, n int64) (int64, unix.Errno) {
	for {
		got, _, err := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(min(n, pipeSize)), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return int64(count(got, err)), err
		}
	}
}
