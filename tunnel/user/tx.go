package user

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

const (
	txBatch   = 64
	txPackets = 8 // packets read from the TUN device before a batch must leave
	// readLen holds a virtio_net_hdr and the largest packet the device gives.
	readLen = vnetLen + 65536
	// slotLen holds the headers of one segment: link, IPv4, and the inner ones.
	slotLen = 64 + headMax
	tosLen  = unix.SizeofCmsghdr + 8
)

// A sender takes packets from the TUN device, judges them, cuts super-packets
// and sends them to where their address says. All its memory is allocated once.
type sender struct {
	tun   syscall.RawConn
	check *ingress.Checker
	count *Counters
	small *outlet // DF clear: inner packets of up to 1280 bytes, which no path may refuse
	large *outlet // DF set: the others
	allDF bool    // RFC 5969 §9.2: the source address is an anycast one

	pkts [txPackets][]byte
	lens [txPackets]int
	n    int
	err  error
	read func(fd uintptr) bool
}

func newSender(tun *os.File, check *ingress.Checker, count *Counters, small, large *outlet, allDF bool) (*sender, error) {
	conn, err := tun.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{tun: conn, check: check, count: count, small: small, large: large, allDF: allDF}
	for i := range s.pkts {
		s.pkts[i] = make([]byte, readLen)
	}
	s.read = s.readSome
	return s, nil
}

// readSome reads what is there, up to txPackets; false asks the poller to wait.
func (s *sender) readSome(fd uintptr) bool {
	s.n, s.err = 0, nil
	for s.n < txPackets {
		n, err := unix.Read(int(fd), s.pkts[s.n])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return s.n > 0
		case err != nil:
			s.err = os.NewSyscallError("read tun", err)
			return true
		}
		s.lens[s.n] = n
		s.n++
	}
	return true
}

// run sends until the device's read deadline passes or it is closed.
func (s *sender) run() error {
	for {
		if err := s.tun.Read(s.read); err != nil {
			return err
		}
		for i := range s.n {
			s.packet(s.pkts[i][:s.lens[i]])
		}
		if err := errors.Join(s.small.flush(), s.large.flush()); err != nil {
			return err
		}
		if s.err != nil {
			return s.err
		}
	}
}

// packet judges one packet of the device and puts it, or its segments, into
// the batch.
func (s *sender) packet(buf []byte) {
	if len(buf) < vnetLen {
		return
	}
	pkt := buf[vnetLen:]
	dst, reason := s.check.Egress(pkt)
	if reason != ingress.Pass {
		s.count.Reasons[reason].Add(1)
		return
	}
	sup, ok := parseSuper(parseVnet(buf), pkt)
	if !ok {
		s.count.Faults[BadOffload].Add(1)
		return
	}
	out := s.small
	if s.allDF || segmentLen(&sup) > 1280 {
		out = s.large
	}
	tos := ingress.Encapsulate(pkt[0]<<4 | pkt[1]>>4)
	for i := range sup.count() {
		out.add(&sup, i, dst, tos)
	}
}

// segmentLen is the length of the longest packet that sup becomes.
func segmentLen(sup *super) int {
	if sup.hdr.gsoSize == 0 {
		return len(sup.pkt)
	}
	return min(len(sup.pkt), sup.head+int(sup.hdr.gsoSize))
}

// An outlet collects packets for one raw socket and sends them by sendmmsg.
type outlet struct {
	conn  syscall.RawConn
	count *Counters

	msgs  [txBatch]unix.Mmsghdr
	iov   [txBatch][2]unix.Iovec
	names [txBatch]unix.RawSockaddrInet4
	tos   [txBatch][tosLen]byte
	slots [txBatch][slotLen]byte
	bytes [txBatch]int

	n, sent int
	errno   syscall.Errno
	write   func(fd uintptr) bool
	fault   error
}

func newOutlet(socket *os.File, count *Counters) (*outlet, error) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	o := &outlet{conn: conn, count: count}
	for i := range o.msgs {
		o.names[i].Family = unix.AF_INET
		h := &o.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&o.names[i]))
		h.Namelen = unix.SizeofSockaddrInet4
		h.Iov = &o.iov[i][0]
		c := (*unix.Cmsghdr)(unsafe.Pointer(&o.tos[i]))
		c.Level, c.Type = unix.IPPROTO_IP, unix.IP_TOS
		c.SetLen(unix.SizeofCmsghdr + 4)
	}
	o.write = o.sendmmsg
	return o, nil
}

// add puts segment i of sup into the batch and sends the batch when it is full.
func (o *outlet) add(sup *super, i int, dst [4]byte, tos byte) {
	k := o.n
	head, payload := sup.segment(i, o.slots[k][:])
	sup.complete(head, payload)
	h := &o.msgs[k].Hdr
	o.iov[k][0].Base = &head[0]
	o.iov[k][0].SetLen(len(head))
	h.SetIovlen(1)
	if len(payload) > 0 {
		o.iov[k][1].Base = &payload[0]
		o.iov[k][1].SetLen(len(payload))
		h.SetIovlen(2)
	}
	o.names[k].Addr = dst
	h.Control = nil
	h.SetControllen(0)
	if tos != 0 {
		*(*int32)(unsafe.Pointer(&o.tos[k][unix.SizeofCmsghdr])) = int32(tos)
		h.Control = &o.tos[k][0]
		h.SetControllen(tosLen)
	}
	o.bytes[k] = len(head) + len(payload)
	if o.n++; o.n == txBatch && o.fault == nil {
		o.fault = o.flush()
	}
}

// sendmmsg sends from o.sent on; false asks the poller to wait.
func (o *outlet) sendmmsg(fd uintptr) bool {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.msgs[o.sent])), uintptr(o.n-o.sent), unix.MSG_DONTWAIT, 0, 0)
	o.errno = errno
	if errno == 0 {
		for _, b := range o.bytes[o.sent : o.sent+int(n)] {
			o.count.TxBytes.Add(uint64(b))
		}
		o.count.TxPackets.Add(uint64(n))
		o.sent += int(n)
	}
	return errno != unix.EAGAIN
}

// flush sends the batch. A packet that the host refuses is counted and lost;
// only a dead socket is an error.
func (o *outlet) flush() error {
	if o.fault != nil {
		return o.fault
	}
	tries := 0
	for o.sent = 0; o.sent < o.n; {
		if err := o.conn.Write(o.write); err != nil {
			return err
		}
		if o.errno == 0 {
			tries = 0
			continue
		}
		// The first error may be a pending one, of an earlier packet.
		if tries++; tries < 2 || o.errno == unix.EINTR {
			continue
		}
		o.count.Faults[faultOf(o.errno)].Add(1)
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
