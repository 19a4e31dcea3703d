package datagram

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Handler is told what happens on its socket, on the socket's loop. It must
// not block.
type Handler interface {
	// Datagrams has arrived; b is good until Datagrams returns.
	Datagrams(b *Batch)
	// Failed tells of an error, such as ECONNREFUSED that an ICMP message
	// brought. The socket goes on.
	Failed(err error)
	// Closed tells that the socket is closed, once. Nothing comes after.
	Closed()
}

// A Socket is a UDP socket of a loop. Its methods may be called from any
// goroutine.
type Socket struct {
	fd      int32
	loop    *loop
	handler Handler
	dead    atomic.Bool // Close was called

	mu   sync.Mutex // keeps the descriptor from being closed during a write
	gone bool       // it is closed
}

// A Source is the local end of a socket that connects. The zero Source is the
// system's choice.
type Source struct {
	Addr        netip.Addr
	Transparent bool // Addr is not ours: IP_TRANSPARENT
}

// Listen makes a Socket of udp, which it takes over, also when it fails. Each
// datagram has its local address.
func (ls *Loops) Listen(udp *net.UDPConn, h Handler) (*Socket, error) {
	defer udp.Close() // the runtime's poller would wake for each datagram too
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("datagram: %w", err)
	}
	fd := -1
	controlErr := raw.Control(func(own uintptr) {
		// One socket for all clients: a burst must fit in. FORCE is for root.
		if unix.SetsockoptInt(int(own), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			unix.SetsockoptInt(int(own), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
		if err = askLocal(int(own)); err == nil {
			fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
		}
	})
	if controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return nil, fmt.Errorf("datagram: %w", err)
	}
	return ls.start(fd, h)
}

// receiveBuffer is that of a listening socket.
const receiveBuffer = 4 << 20

// askLocal asks for the local address of each datagram.
func askLocal(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case domain == unix.AF_INET6:
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1))
}

// Connect makes a Socket that is connected to an IPv4 address.
func (ls *Loops) Connect(to netip.AddrPort, from Source, h Handler) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = ls.bounds.Take(fd)
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := from.bind(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return ls.start(fd, h)
}

func (from Source) bind(fd int) error {
	if !from.Addr.IsValid() {
		return nil
	}
	// The port is chosen at connect, per destination.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if from.Transparent {
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: from.Addr.As4()}))
}

// start gives fd to a loop.
func (ls *Loops) start(fd int, h Handler) (*Socket, error) {
	// Without it trains are cut up earlier: slower, nothing else.
	unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1)
	s := &Socket{fd: int32(fd), loop: ls.next(), handler: h}
	if err := s.loop.add(s); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("datagram: %w", err)
	}
	return s, nil
}

// Close closes the socket, soon: the handler's Closed tells when.
func (s *Socket) Close() {
	if !s.dead.CompareAndSwap(false, true) {
		return
	}
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	s.loop.closing = append(s.loop.closing, s)
	s.loop.wake()
}

// Write writes packets, without waiting: those that there is no room for are
// lost. It tells how many went out. A train that the way does not take as one
// (its datagrams are larger than the MTU) is written one by one.
func (s *Socket) Write(packets []Packet, r Route) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return 0, net.ErrClosed
	}
	o := scratch.Get().(*outgoing)
	defer scratch.Put(o)
	return o.write(uintptr(s.fd), packets, r)
}

// scratch is for writes that are under way.
var scratch = sync.Pool{New: func() any { return new(outgoing) }}

// send is sendmmsg(2).
func send(fd uintptr, messages *[batchSize]message, n int) (int, unix.Errno) {
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(messages)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(sent), errno
}
