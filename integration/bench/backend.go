package main

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The backend answers each request of requestSize bytes with answerSize bytes;
// a connection that begins with bulkByte gets bytes without end.
const (
	requestSize = 64
	answerSize  = 1024
	bulkByte    = 'B'
)

// serveBackend is the backend's process: TCP and UDP on one port of 127.0.0.1,
// which it prints.
func serveBackend() error {
	ln, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(ln, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(ln, 4096); err != nil {
		return err
	}
	sa, err := unix.Getsockname(ln)
	if err != nil {
		return err
	}
	port := sa.(*unix.SockaddrInet4).Port
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return err
	}
	go echoUDP(udp)
	fmt.Println(port)
	return serveTCP(ln)
}

func echoUDP(c *net.UDPConn) {
	p := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(p)
		if err == nil {
			_, err = c.WriteToUDPAddrPort(p[:n], from)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "backend:", err)
		}
	}
}

// A served is one of the backend's connections.
type served struct {
	fd     int
	begun  bool
	bulk   bool
	unread int // bytes of a request not yet complete
	owed   int // bytes of answers to send now
}

func serveTCP(ln int) error {
	runtime.LockOSThread()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := watch(ep, ln, unix.EPOLLIN); err != nil {
		return err
	}
	conns := map[int32]*served{}
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, 256<<10)
	for {
		n, err := unix.EpollWait(ep, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for i := range max(n, 0) {
			fd := events[i].Fd
			if int(fd) == ln {
				c, _, err := unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
				if err != nil {
					continue // gone already
				}
				unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
				conns[int32(c)] = &served{fd: c}
				if err := watch(ep, c, unix.EPOLLIN); err != nil {
					return err
				}
				continue
			}
			if c := conns[fd]; c != nil && !c.serve(ep, buf) {
				delete(conns, fd)
				unix.Close(int(fd))
			}
		}
	}
}

func watch(ep, fd int, events uint32) error {
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// serve reads and writes once. False: the connection has ended.
func (c *served) serve(ep int, buf []byte) bool {
	n, err := unix.Read(c.fd, buf)
	if n == 0 || (err != nil && err != unix.EAGAIN) {
		return false
	}
	if err == nil {
		if !c.begun && buf[0] == bulkByte {
			c.bulk = true
			unix.EpollCtl(ep, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT, Fd: int32(c.fd)})
		}
		c.begun = true
		c.unread += n
		c.owed = c.unread / requestSize * answerSize
		c.unread %= requestSize
	}
	p := buf
	if !c.bulk {
		p = buf[:c.owed] // at most a request of each client is under way
	}
	if len(p) == 0 {
		return true
	}
	_, err = unix.Write(c.fd, p)
	return err == nil || err == unix.EAGAIN
}
