package pipe

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below cannot block, so the scheduler is not told (RawSyscall): on
// small messages that is a tenth of the whole.

// recv reads what is there. n = 0 without an error is end of file.
func recv(fd int32, p []byte) (int, unix.Errno) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
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

// splice moves at most n bytes where one of the two is a pipe.
func splice(from, to int32, n int) (int, unix.Errno) {
	for {
		m, _, err := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if err != unix.EINTR {
			return count(m, err), err
		}
	}
}

func count(n uintptr, err unix.Errno) int {
	if err != 0 {
		return 0
	}
	return int(n)
}

// epollWaitRaw waits with this thread and its P.
func epollWaitRaw(ep int, events []unix.EpollEvent, ms int) int {
	n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if err != 0 {
		return -1 // EINTR
	}
	return int(n)
}

// epollWait waits while the scheduler gives the P to others.
func epollWait(ep int, events []unix.EpollEvent, ms int) int {
	n, err := unix.EpollWait(ep, events, ms)
	if err != nil {
		return -1 // EINTR
	}
	return n
}

// watch adds fd to an epoll set; index and about come back with each event.
func watch(ep int, fd int32, events uint32, index, about int32) error {
	ev := unix.EpollEvent{Events: events, Fd: index, Pad: about}
	_, _, err := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return asError(err)
}

// tcpSocket makes a socket of the address's family that does not block.
func tcpSocket(to netip.Addr) (int32, error) {
	family := unix.AF_INET6
	if to.Is4() {
		family = unix.AF_INET
	}
	fd, _, err := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return int32(fd), asError(err)
}

// connectTo begins to connect. EINPROGRESS is the usual error.
func connectTo(fd int32, to netip.AddrPort) unix.Errno {
	var err unix.Errno
	if to.Addr().Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
		setPort(&sa.Port, to.Port())
		_, _, err = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	} else {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.Addr().As16()}
		setPort(&sa.Port, to.Port())
		_, _, err = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	}
	return err
}

// A port stands in network order in a socket address.

func setPort(p *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], port)
}

func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

// asError makes a nil error of 0.
func asError(err unix.Errno) error {
	if err == 0 {
		return nil
	}
	return err
}

func closeFD(fd int32) {
	if fd >= 0 {
		unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	}
}

// setInt sets a socket option. Failing is no reason to refuse a stream: the
// options set here are for speed, or the socket is about to be closed.
func setInt(fd int32, level, option, value int) {
	v := int32(value)
	unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
}

// abandon closes fd so that the other end sees a reset.
func abandon(fd int32) {
	if fd < 0 {
		return
	}
	linger := unix.Linger{Onoff: 1}
	unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	closeFD(fd)
}

func shutdownWrite(fd int32) unix.Errno {
	_, _, err := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return err
}

// socketError takes the pending error off the socket.
func socketError(fd int32) unix.Errno {
	v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EBADF
	}
	return unix.Errno(v)
}

// prepare sets what a relayed socket needs and net.TCPConn has not.
func prepare(fd int32) {
	setInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
}

// keepAlive has the kernel ask whether the peers are still there: after two
// minutes of silence, given up after two more.
func keepAlive(s *Stream) {
	for _, e := range s.ends {
		setInt(e.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		setInt(e.fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(2*time.Minute/time.Second))
		setInt(e.fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30)
		setInt(e.fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4)
	}
}

// steal takes c's socket away from the runtime: c is closed (and so leaves the
// runtime's poller), the socket lives on under the descriptor returned.
func steal(c *net.TCPConn) (int32, error) {
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("pipe: take over a connection: %w", err)
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(own uintptr) {
		fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return -1, fmt.Errorf("pipe: take over a connection: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("pipe: take over a connection: %w", os.NewSyscallError("fcntl", dupErr))
	}
	return int32(fd), nil
}

// ring wakes the loop that waits on an eventfd.
func ring(wake int) {
	one := uint64(1)
	unix.RawSyscall(unix.SYS_WRITE, uintptr(wake), uintptr(unsafe.Pointer(&one)), 8)
}

func drainWake(wake int) {
	var n uint64
	unix.RawSyscall(unix.SYS_READ, uintptr(wake), uintptr(unsafe.Pointer(&n)), 8)
}
