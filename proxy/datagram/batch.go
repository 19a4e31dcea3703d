package datagram

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of a batch.
const (
	batchSize = 16
	maxTrain  = 1 << 16 // bytes of one datagram, or of a train of them
	oobSize   = 96      // PKTINFO and UDP_GRO of either family
)

// A Batch is what one system call received.
type Batch struct {
	n        int
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6
	oobs     [batchSize][oobSize]byte
	infos    [batchSize]info
	buffers  [batchSize][maxTrain]byte
}

// A message is struct mmsghdr of recvmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// info is what the control messages of one datagram say.
type info struct {
	local   netip.Addr
	index   int // of the interface it came in by
	segment int // size of the datagrams of a train; 0: a single one
}

// Len is the number of datagrams, a train being one.
func (b *Batch) Len() int { return b.n }

// Payload is the bytes of datagram i.
func (b *Batch) Payload(i int) []byte { return b.buffers[i][:b.messages[i].length] }

// Segment is the size of the single datagrams when i is a train of them (the
// last may be shorter), else zero.
func (b *Batch) Segment(i int) int { return b.infos[i].segment }

// Count is how many datagrams i is.
func (b *Batch) Count(i int) int {
	if s := b.infos[i].segment; s > 0 {
		return (int(b.messages[i].length) + s - 1) / s
	}
	return 1
}

// Local is the address that the client wrote to, and the index of the
// interface. Only sockets made by Listen know it.
func (b *Batch) Local(i int) (netip.Addr, int) { return b.infos[i].local, b.infos[i].index }

// Peer is where datagram i came from, as the socket has it: an IPv4-mapped
// address on an IPv6 socket is not unmapped. There is no zone.
func (b *Batch) Peer(i int) netip.AddrPort {
	name := &b.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if name.Family == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), port)
	}
	four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port)
}

// prepare points the messages to their buffers, once for all.
func (b *Batch) prepare() {
	for i := range b.messages {
		b.vectors[i].Base = &b.buffers[i][0]
		b.vectors[i].SetLen(maxTrain)
		h := &b.messages[i].header
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = &b.oobs[i][0]
	}
	b.n = batchSize
}

// receive fills b from a socket, without waiting.
func (b *Batch) receive(fd uintptr) error {
	for i := range b.n { // the kernel has changed these
		b.messages[i].header.Namelen = unix.SizeofSockaddrInet6
		b.messages[i].header.SetControllen(oobSize)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.messages)), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		b.n = 1 // it may have changed the first
		return errno
	}
	b.n = int(n)
	for i := range b.n {
		b.infos[i] = parseControl(b.oobs[i][:b.messages[i].header.Controllen])
	}
	return nil
}

// parseControl reads control messages, cmsg(3). What is not understood is
// passed over.
func parseControl(oob []byte) info {
	var in info
	for len(oob) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		if h.Len < unix.SizeofCmsghdr || uint64(h.Len) > uint64(len(oob)) {
			return in
		}
		data := oob[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			in.local = netip.AddrFrom16([16]byte(data[:16]))
			in.index = int(binary.NativeEndian.Uint32(data[16:]))
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			in.index = int(binary.NativeEndian.Uint32(data))
			// ipi_addr, of the packet. ipi_spec_dst is not there for packets that
			// came before the socket was asked for it.
			in.local = netip.AddrFrom4([4]byte(data[8:12]))
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			in.segment = int(binary.NativeEndian.Uint32(data))
		}
		next := unix.CmsgSpace(len(data))
		if next > len(oob) {
			return in
		}
		oob = oob[next:]
	}
	return in
}
