package http3

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// A packet that one process passes to another, as one datagram:
//
//	16 bytes  the client's address     1 byte   4 or 6
//	 2 bytes  its port                 4 bytes  interface of a link-local address
//	 1 byte   length of the control messages that came with it
//	          the control messages     the packet
const passedHead = 16 + 1 + 2 + 4 + 1

// pass gives a packet to the older process. Where that has no room for it it is
// lost, as on any way. It is false where the process is gone.
func (o *Older) pass(m *ipv4.Message) bool {
	at, ok := m.Addr.(*net.UDPAddr)
	if !ok || m.NN > 255 {
		return false
	}
	head := make([]byte, passedHead, passedHead+m.NN+m.N)
	addr := at.AddrPort()
	ip, family := addr.Addr().As16(), byte(6)
	if addr.Addr().Is4() {
		family = 4
	}
	copy(head, ip[:])
	head[16] = family
	binary.BigEndian.PutUint16(head[17:], addr.Port())
	index := 0
	if zone := addr.Addr().Zone(); zone != "" {
		if by, err := net.InterfaceByName(zone); err == nil {
			index = by.Index
		}
	}
	binary.BigEndian.PutUint32(head[19:], uint32(index))
	head[23] = byte(m.NN)
	whole := append(append(head, m.OOB[:m.NN]...), m.Buffers[0][:m.N]...)
	raw, err := o.Pipe.SyscallConn()
	if err != nil {
		return false
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		sendErr = unix.Sendto(int(fd), whole, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	})
	return err == nil && (sendErr == nil || errors.Is(sendErr, unix.EAGAIN))
}

// readPassed reads one packet that the younger process has passed on.
func readPassed(from *os.File, m *ipv4.Message) (int, error) {
	buf := make([]byte, passedHead+255+len(m.Buffers[0]))
	n, err := from.Read(buf)
	if err != nil {
		return 0, err
	}
	if n < passedHead || n < passedHead+int(buf[23]) {
		return 0, fmt.Errorf("http3: a packet of %d bytes from the younger process is cut", n)
	}
	ip := netip.AddrFrom16([16]byte(buf[:16]))
	if buf[16] == 4 {
		ip = ip.Unmap()
	}
	if index := binary.BigEndian.Uint32(buf[19:]); index != 0 {
		if by, err := net.InterfaceByIndex(int(index)); err == nil {
			ip = ip.WithZone(by.Name)
		}
	}
	m.Addr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, binary.BigEndian.Uint16(buf[17:])))
	control := buf[passedHead : passedHead+int(buf[23])]
	m.NN = copy(m.OOB, control)
	m.N = copy(m.Buffers[0], buf[passedHead+len(control):n])
	return 1, nil
}
