package user

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	txBatch = 64
	// slotLen holds the headers of one segment: IPv4, and the inner ones.
	slotLen = outerLen + headMax
	tosLen  = unix.SizeofCmsghdr + 8
	// outerLen is an IPv4 header without options.
	outerLen = 20
)

// An outlet collects packets for one socket and sends them by sendmmsg.
type outlet struct {
	fd    int
	stop  *alarm
	count *Counters

	msgs  [txBatch]unix.Mmsghdr
	iov   [txBatch][2]unix.Iovec
	names [txBatch]unix.RawSockaddrLinklayer // or a RawSockaddrInet4, which is smaller
	tos   [txBatch][tosLen]byte
	slots [txBatch][slotLen]byte
	bytes [txBatch]int

	n, sent int
	fault   error
}

func newOutlet(fd int, stop *alarm, count *Counters) *outlet {
	o := &outlet{fd: fd, stop: stop, count: count}
	for i := range o.msgs {
		h := &o.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&o.names[i]))
		h.Iov = &o.iov[i][0]
		c := (*unix.Cmsghdr)(unsafe.Pointer(&o.tos[i]))
		c.Level, c.Type = unix.IPPROTO_IP, unix.IP_TOS
		c.SetLen(unix.SizeofCmsghdr + 4)
	}
	return o
}

// addRaw puts segment i of sup into the batch of a raw socket, for which the
// kernel makes the IPv4 header.
func (o *outlet) addRaw(sup *super, i int, dst [4]byte, tos byte) {
	k := o.n
	head, payload := sup.segment(i, o.slots[k][:])
	sup.complete(head, payload)
	o.nameInet(dst)
	h := &o.msgs[k].Hdr
	h.Control = nil
	h.SetControllen(0)
	if tos != 0 {
		*(*int32)(unsafe.Pointer(&o.tos[k][unix.SizeofCmsghdr])) = int32(tos)
		h.Control = &o.tos[k][0]
		h.SetControllen(tosLen)
	}
	o.commit(head, payload)
}

// An ipHeader is what the outer headers of a packet's segments share.
type ipHeader struct {
	src, dst [4]byte
	tos, ttl byte
	df       bool
}

// addOuter puts segment i of sup into the batch behind an IPv4 header of our
// own: of a packet socket, for which the kernel adds the link header, or, to
// nil, of a raw socket that takes the header as it is.
func (o *outlet) addOuter(sup *super, i int, ip ipHeader, id uint16, to *hop) {
	k := o.n
	slot := &o.slots[k]
	head, payload := sup.segment(i, slot[outerLen:])
	sup.complete(head, payload)
	putOuter(slot[:outerLen], ip, id, outerLen+len(head)+len(payload))
	if len(payload) > 0 || sup.hdr.gsoSize > 0 {
		head = slot[:outerLen+len(head)]
	} else {
		head, payload = slot[:outerLen], head
	}
	if to == nil {
		o.nameInet(ip.dst)
	} else {
		name := &o.names[k]
		name.Family, name.Protocol = unix.AF_PACKET, htons(unix.ETH_P_IP)
		name.Ifindex, name.Halen, name.Addr = to.index, to.macLen, to.mac
		o.msgs[k].Hdr.Namelen = unix.SizeofSockaddrLinklayer
	}
	o.commit(head, payload)
}

// nameInet addresses message o.n to an IPv4 address.
func (o *outlet) nameInet(dst [4]byte) {
	name := (*unix.RawSockaddrInet4)(unsafe.Pointer(&o.names[o.n]))
	name.Family, name.Addr = unix.AF_INET, dst
	o.msgs[o.n].Hdr.Namelen = unix.SizeofSockaddrInet4
}

// putOuter writes an IPv4 header (RFC 791 §3.1) to b.
func putOuter(b []byte, ip ipHeader, id uint16, total int) {
	b[0], b[1] = 0x45, ip.tos
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], 0)
	if ip.df {
		b[6] = 0x40
	}
	b[8], b[9] = ip.ttl, unix.IPPROTO_IPV6
	binary.BigEndian.PutUint16(b[10:], 0)
	copy(b[12:], ip.src[:])
	copy(b[16:], ip.dst[:])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:outerLen])))
}

// commit ends message o.n and sends the batch when it is full.
func (o *outlet) commit(head, payload []byte) {
	k := o.n
	h := &o.msgs[k].Hdr
	o.iov[k][0].Base = &head[0]
	o.iov[k][0].SetLen(len(head))
	h.SetIovlen(1)
	if len(payload) > 0 {
		o.iov[k][1].Base = &payload[0]
		o.iov[k][1].SetLen(len(payload))
		h.SetIovlen(2)
	}
	o.bytes[k] = len(head) + len(payload)
	if o.n++; o.n == txBatch && o.fault == nil {
		o.fault = o.flush()
	}
}

// sendmmsg sends from o.sent on, as far as it gets.
func (o *outlet) sendmmsg() syscall.Errno {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(o.fd), uintptr(unsafe.Pointer(&o.msgs[o.sent])), uintptr(o.n-o.sent), unix.MSG_DONTWAIT, 0, 0)
	if errno == 0 {
		for _, b := range o.bytes[o.sent : o.sent+int(n)] {
			o.count.TxBytes.Add(uint64(b))
		}
		o.count.TxPackets.Add(uint64(n))
		o.sent += int(n)
	}
	return errno
}

// flush sends the batch. A packet that the host refuses is counted and lost;
// only a dead socket is an error.
func (o *outlet) flush() error {
	if o.fault != nil {
		return o.fault
	}
	tries := 0
	for o.sent = 0; o.sent < o.n; {
		errno := o.sendmmsg()
		if errno == 0 {
			tries = 0
			continue
		}
		if errno == unix.EAGAIN {
			if err := o.stop.wait(o.fd, unix.POLLOUT); err != nil {
				return err
			}
			continue
		}
		// The first error may be a pending one, of an earlier packet.
		if tries++; tries < 2 || errno == unix.EINTR {
			continue
		}
		o.count.Faults[faultOf(errno)].Add(1)
		o.sent++
		tries = 0
	}
	o.n = 0
	return nil
}

// faultOf says what a refusal to send means.
func faultOf(errno syscall.Errno) Fault {
	switch errno {
	case unix.EMSGSIZE:
		return TooBig
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV:
		return Unreachable
	}
	return SendRefused
}
