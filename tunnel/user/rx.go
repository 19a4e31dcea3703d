package user

import (
	"encoding/binary"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

const (
	rxBatch = 64
	// gatherTime is how long packets of a stream gather. The kernel adds as much
	// again, and it is little beside the round trip of any IPv4 path.
	gatherTime = 50 * time.Microsecond
	// frameLen holds a virtio_net_hdr, any link header and the largest IPv4
	// packet.
	frameLen = vnetLen + 64 + 65536
	// auxLen is a control message with a struct tpacket_auxdata.
	auxLen = unix.SizeofCmsghdr + 24
)

// A receiver takes packets from the packet socket, judges them and writes what
// is inside to the TUN device. All its memory is allocated once.
type receiver struct {
	fd    int // of the packet socket
	stop  *alarm
	check *ingress.Checker
	frags ingress.Reassembler
	count *Counters

	msgs   [rxBatch]unix.Mmsghdr
	iov    [rxBatch]unix.Iovec
	aux    [rxBatch][auxLen]byte
	names  [rxBatch]unix.RawSockaddrLinklayer
	frames [rxBatch][]byte

	flows  coalescer
	single [1]unix.Iovec
	tun    tunFile
	clamp  int // MTU for TCP's MSS
	uplink int // 0: sources are not looked up
	routes *reverse
}

func newReceiver(fd int, stop *alarm, tun tunFile, cfg Config, routes *reverse, count *Counters) *receiver {
	r := &receiver{fd: fd, stop: stop, tun: tun, check: cfg.Check, clamp: cfg.MTU, uplink: cfg.Uplink, routes: routes, count: count}
	for i := range r.frames {
		r.frames[i] = make([]byte, frameLen)
		r.iov[i].Base = &r.frames[i][0]
		r.iov[i].SetLen(frameLen)
		r.msgs[i].Hdr.Iov = &r.iov[i]
		r.msgs[i].Hdr.SetIovlen(1)
		r.msgs[i].Hdr.Control = &r.aux[i][0]
		r.msgs[i].Hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	return r
}

// recvmmsg fills the batch with what is there, which may be nothing.
func (r *receiver) recvmmsg() (int, error) {
	for i := range r.msgs {
		r.msgs[i].Hdr.SetControllen(auxLen)
		r.msgs[i].Hdr.Namelen = unix.SizeofSockaddrLinklayer
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.msgs[0])), rxBatch, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN:
		return 0, r.stop.wait(r.fd, unix.POLLIN)
	case unix.EINTR, unix.ENETDOWN: // an interface went down: others may live
		return 0, nil
	case unix.EINVAL:
		// Before Linux 6.2 the virtio_net_hdr has no word for UDP super-packets:
		// the kernel drops one, which only a neighbour on the same host sends.
		r.count.Faults[BadOffload].Add(1)
		return 0, nil
	}
	return 0, os.NewSyscallError("recvmmsg", errno)
}

// run receives until the alarm rings.
func (r *receiver) run() error {
	gather := unix.NsecToTimespec(gatherTime.Nanoseconds())
	for {
		n, err := r.recvmmsg()
		if err != nil {
			return err
		}
		for i := range r.msgs[:n] {
			r.frame(i)
		}
		r.flushAll()
		if moderate(r.msgs[:n]) {
			_ = unix.Nanosleep(&gather, nil)
		}
	}
}

// moderate reports whether to let packets gather before the next batch: where
// they come in a stream, but were taken so soon that they make no super-packet.
// Each would cost the stack, and the other end by its ACK, as much as one. Cards
// moderate their interrupts for that reason.
func moderate(batch []unix.Mmsghdr) bool {
	const stream, super = 4, 65536
	size := uint32(0)
	for i := range batch {
		size += batch[i].Len
	}
	return stream <= len(batch) && len(batch) < rxBatch && size < super
}

// frame handles message i of the batch.
func (r *receiver) frame(i int) {
	m := &r.msgs[i]
	link, ok := linkLen(r.aux[i][:m.Hdr.Controllen])
	if m.Hdr.Flags&unix.MSG_TRUNC != 0 || !ok || int(m.Len) < vnetLen+link {
		r.count.Faults[Truncated].Add(1)
		return
	}
	frame := r.frames[i][:m.Len]
	pkt := frame[vnetLen+link:]
	if from := int(r.names[i].Ifindex); r.uplink != 0 && from != r.uplink && len(pkt) >= outerLen &&
		!r.routes.by(from, [4]byte(pkt[12:16]), time.Now()) {
		r.count.Faults[OtherInterface].Add(1)
		return
	}
	reason := r.check.Check(pkt)
	switch reason {
	case ingress.Pass:
		hdr := int(pkt[0]&15) * 4
		v, ok := parseVnet(frame).stripped(link+hdr, int(binary.BigEndian.Uint16(pkt[2:]))-hdr)
		if !ok {
			r.count.Faults[BadOffload].Add(1)
			return
		}
		// hdr is 20 at least: the virtio_net_hdr finds its place before the
		// inner packet.
		r.deliver(frame, vnetLen+link, v)
	case ingress.Fragment:
		r.fragment(pkt)
	default:
		r.count.Reasons[reason].Add(1)
	}
}

// deliver writes the packet inside of the judged outer packet at buf[at:].
func (r *receiver) deliver(buf []byte, at int, v vnetHdr) {
	outer := buf[at:]
	hdr := int(outer[0]&15) * 4
	inner := outer[hdr:binary.BigEndian.Uint16(outer[2:])]
	// RFC 6040 §4.2. Check has dropped what cannot carry the mark.
	if tc, _ := ingress.Decapsulate(outer[1], inner[0]<<4|inner[1]>>4); tc != inner[0]<<4|inner[1]>>4 {
		inner[0] = inner[0]&0xf0 | tc>>4
		inner[1] = inner[1]&0x0f | tc<<4
	}
	clampMSS(inner, r.clamp, v)
	r.count.RxPackets.Add(1)
	r.count.RxBytes.Add(uint64(len(inner)))
	r.hand(outer[hdr-vnetLen:hdr+len(inner)], v)
}

// hand gives the inner packet in buf, behind vnetLen bytes, to the TUN device,
// perhaps together with others of its flow.
func (r *receiver) hand(buf []byte, v vnetHdr) {
	pkt := buf[vnetLen:]
	head, ok := segmentOf(pkt, v)
	i := r.flows.find(pkt)
	if ok && i >= 0 && r.flows.flows[i].follows(pkt, head) {
		r.flows.flows[i].join(pkt, head)
		return
	}
	if i >= 0 {
		r.flush(i) // what came before goes before
	}
	if !ok {
		v.put(buf)
		r.single[0].Base = &buf[0]
		r.single[0].SetLen(len(buf))
		r.tun.write(r.single[:], r.count)
		return
	}
	if r.flows.n == maxFlows {
		r.flush(0)
	}
	r.flows.flows[r.flows.n].begin(buf, v, head)
	r.flows.n++
}

// flush writes the i-th flow; the last one takes its place.
func (r *receiver) flush(i int) {
	f := &r.flows.flows[i]
	f.finish()
	r.tun.write(f.iov[:f.pieces], r.count)
	r.flows.n--
	if last := r.flows.n; i != last {
		r.flows.flows[i], r.flows.flows[last] = r.flows.flows[last], r.flows.flows[i]
	}
}

func (r *receiver) flushAll() {
	for r.flows.n > 0 {
		r.flush(r.flows.n - 1)
	}
}

// fragment gives an outer fragment to the reassembler, and the whole packet,
// once it is there, to the same checks.
func (r *receiver) fragment(pkt []byte) {
	whole, reason := r.frags.Add(pkt, time.Now())
	timeout, limit := r.frags.Lost()
	r.count.Reasons[ingress.FragmentTimeout].Add(uint64(timeout))
	r.count.Reasons[ingress.FragmentLimit].Add(uint64(limit))
	if reason == ingress.Fragment { // more to come
		return
	}
	if reason == ingress.Pass {
		reason = r.check.Check(whole)
	}
	if reason != ingress.Pass {
		r.count.Reasons[reason].Add(1)
		return
	}
	r.deliver(whole, 0, vnetHdr{})
}

// linkLen returns the length of the link header, from the auxiliary data: 14
// for Ethernet, 0 for a point-to-point link, and so on for others.
func linkLen(control []byte) (int, bool) {
	if len(control) < unix.SizeofCmsghdr+int(unsafe.Sizeof(unix.TpacketAuxdata{})) {
		return 0, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if h.Level != unix.SOL_PACKET || h.Type != unix.PACKET_AUXDATA {
		return 0, false
	}
	aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&control[unix.SizeofCmsghdr]))
	return int(aux.Net), aux.Net <= 64
}
