package datagram

import (
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Conn is a UDP socket. Reading is for one goroutine at a time, writing for
// any number.
type Conn struct {
	udp *net.UDPConn
	raw syscall.RawConn
}

// batches are lent to reads and writes that are under way.
type batches struct{ in, out sync.Pool }

// pools is shared by all sockets: memory follows what is under way, not their
// number.
var pools = batches{
	in:  sync.Pool{New: func() any { return new(Batch) }},
	out: sync.Pool{New: func() any { return new(outgoing) }},
}

// Listening makes a Conn of a socket that is bound only, and asks for the
// local address of each datagram.
func Listening(udp *net.UDPConn) (*Conn, error) { return newConn(udp, true) }

// Connected makes a Conn of a socket that is connected.
func Connected(udp *net.UDPConn) (*Conn, error) { return newConn(udp, false) }

func newConn(udp *net.UDPConn, listening bool) (*Conn, error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{udp: udp, raw: raw}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		// Without it, trains are cut up earlier: slower, nothing else.
		unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1)
		if !listening {
			return
		}
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		switch {
		case err != nil:
			optErr = err
		case domain == unix.AF_INET6:
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
		default:
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_PKTINFO, 1)
		}
	})
	if err == nil {
		err = optErr
	}
	return c, err
}

// Read waits for datagrams and gives them to handle, which must not keep them.
// It ends with net.ErrClosed once the socket is closed. On a connected socket
// it gives the errors that ICMP brought, such as ECONNREFUSED.
func (c *Conn) Read(handle func(*Batch)) error {
	var batch *Batch
	var result error
	err := c.raw.Read(func(fd uintptr) bool {
		b := pools.in.Get().(*Batch)
		result = b.receive(fd)
		switch result {
		case unix.EAGAIN:
			pools.in.Put(b)
			return false
		case unix.EINTR:
			result = nil // nothing received; the caller comes again
		}
		batch = b
		return true
	})
	if batch != nil {
		defer pools.in.Put(batch)
	}
	if err != nil {
		return err
	}
	if result == nil && batch.n > 0 {
		handle(batch)
	}
	return result
}

// Close closes the socket; a Read under way ends.
func (c *Conn) Close() error { return c.udp.Close() }
