package datagram

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Route is where datagrams go. The zero Route is that of a connected socket.
type Route struct {
	To   netip.AddrPort
	From netip.Addr // our address that they leave from; zero: the system chooses
	// Interface is the index of the interface they leave by; it counts for
	// link-local addresses only.
	Interface int
}

// A Packet is one datagram to write, or a train of datagrams of Segment bytes
// each (zero: one datagram).
type Packet struct {
	Head    []byte // written before the payload, of a single datagram
	Payload []byte
	Segment int
}

// outgoing is what one sendmmsg(2) needs.
type outgoing struct {
	messages [batchSize]message
	vectors  [batchSize][2]unix.Iovec
	oobs     [batchSize][oobSize]byte
	name     unix.RawSockaddrInet6
}

// write writes packets to fd, and tells how many went out.
func (o *outgoing) write(fd uintptr, packets []Packet, r Route) (int, error) {
	written := 0
	for written < len(packets) {
		p, n := packets[written], 0
		var err error
		if !p.isTrain() || len(p.Head) == 0 {
			if n, err = o.writeSome(fd, packets[written:written+together(packets[written:])], r); err == nil {
				written += n
				continue
			}
			if !p.isTrain() || err == unix.EAGAIN {
				return written, err
			}
		}
		if _, err := o.write(fd, p.apart(), r); err != nil {
			return written, err
		}
		written++
	}
	return written, nil
}

// apart gives the datagrams of a train.
func (p *Packet) apart() []Packet {
	var single []Packet
	for rest := p.Payload; len(rest) > 0; {
		n := min(p.Segment, len(rest))
		single = append(single, Packet{Head: p.Head, Payload: rest[:n]})
		rest = rest[n:]
	}
	return single
}

func (p *Packet) isTrain() bool { return 0 < p.Segment && p.Segment < len(p.Payload) }

// together is how many packets go into one system call. A train whose
// datagrams each have a head goes alone, and apart.
func together(packets []Packet) int {
	for i := range packets {
		if i == batchSize || i > 0 && packets[i].isTrain() && len(packets[i].Head) > 0 {
			return i
		}
	}
	return len(packets)
}

// writeSome is one system call.
func (o *outgoing) writeSome(fd uintptr, packets []Packet, r Route) (int, error) {
	nameLen := o.setName(r.To)
	for i := range packets {
		o.set(i, &packets[i], r, nameLen)
	}
	n, errno := send(fd, &o.messages, len(packets))
	runtime.KeepAlive(packets)
	switch errno {
	case 0:
		return n, nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, errno
}

// set prepares message i.
func (o *outgoing) set(i int, p *Packet, r Route, nameLen uint32) {
	v := o.vectors[i][:0]
	for _, part := range [][]byte{p.Head, p.Payload} {
		if len(part) > 0 {
			iov := unix.Iovec{Base: &part[0]}
			iov.SetLen(len(part))
			v = append(v, iov)
		}
	}
	h := &o.messages[i].header
	*h = unix.Msghdr{Namelen: nameLen, Iov: &o.vectors[i][0]}
	h.SetIovlen(len(v))
	if nameLen > 0 {
		h.Name = (*byte)(unsafe.Pointer(&o.name))
	}
	oob := o.control(i, p, r)
	if len(oob) > 0 {
		h.Control = &oob[0]
		h.SetControllen(len(oob))
	}
}

// setName writes the destination as a socket address, and gives its length.
func (o *outgoing) setName(to netip.AddrPort) uint32 {
	if !to.IsValid() {
		return 0
	}
	var port uint16
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&port))[:], to.Port())
	if to.Addr().Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&o.name)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	o.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16()}
	return unix.SizeofSockaddrInet6
}

// control writes the control messages of message i.
func (o *outgoing) control(i int, p *Packet, r Route) []byte {
	out := o.oobs[i][:0]
	index := 0
	if r.To.Addr().IsLinkLocalUnicast() {
		index = r.Interface
	}
	switch {
	case r.From.Is4():
		data := binary.NativeEndian.AppendUint32(nil, uint32(index))
		from := r.From.As4()
		out = appendControl(out, unix.SOL_IP, unix.IP_PKTINFO, append(append(data, from[:]...), 0, 0, 0, 0))
	case r.From.Is6():
		from := r.From.As16()
		out = appendControl(out, unix.SOL_IPV6, unix.IPV6_PKTINFO, binary.NativeEndian.AppendUint32(from[:], uint32(index)))
	}
	if p.isTrain() {
		out = appendControl(out, unix.SOL_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(p.Segment)))
	}
	return out
}

// appendControl appends one control message, cmsg(3).
func appendControl(out []byte, level, kind int32, data []byte) []byte {
	at := len(out)
	out = out[:at+unix.CmsgSpace(len(data))]
	clear(out[at:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&out[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(out[at+unix.CmsgLen(0):], data)
	return out
}
