package user

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	maxFlows = 8
	ipv6Len  = 40
	tcpMin   = 20
)

// A coalescer makes one super-packet out of the TCP segments of a flow that
// came in one batch, as the kernel does for what is not encapsulated (generic
// receive offload): the stack then sees one packet, and answers with one ACK.
// The payloads stay where they are: a super-packet is a list of pieces.
//
// Segments are joined if nothing but what follows from their place in the flow
// differs, and if their checksums are right.
type coalescer struct {
	flows [maxFlows]flow
	n     int
}

// A flow is a super-packet in the making. Its first piece is the whole first
// segment behind room for a virtio_net_hdr.
type flow struct {
	iov    [rxBatch]unix.Iovec
	pieces int
	first  []byte // the first segment
	buf    []byte // the same behind vnetLen bytes
	v      vnetHdr
	head   int    // IPv6 and TCP header
	size   int    // payload of each segment but the last
	total  int    // of the super-packet
	next   uint32 // sequence number
	closed bool   // a short segment, or one with PSH, was the last
}

// segmentOf reports whether the packet is one that may be joined: TCP with a
// payload, no extension headers, no flags but ACK and PSH, a right checksum.
func segmentOf(pkt []byte, v vnetHdr) (head int, ok bool) {
	const ack, psh = 0x10, 0x08
	if v.gso != gsoNone || len(pkt) < ipv6Len+tcpMin || pkt[6] != protoTCP {
		return 0, false
	}
	head = ipv6Len + int(pkt[ipv6Len+12]>>4)*4
	if head < ipv6Len+tcpMin || head >= len(pkt) || pkt[ipv6Len+13]&^psh != ack {
		return 0, false
	}
	if int(binary.BigEndian.Uint16(pkt[4:])) != len(pkt)-ipv6Len {
		return 0, false // bytes behind the packet's end
	}
	if v.flags&vnetNeedsCsum != 0 {
		return head, v.csumStart == ipv6Len && v.csumOffset == 16
	}
	return head, fold(sum(pseudo(pkt[8:], len(pkt)-ipv6Len, protoTCP), pkt[ipv6Len:])) == 0xffff
}

// sameFlow compares addresses and ports.
func sameFlow(a, b []byte) bool {
	return bytes.Equal(a[8:ipv6Len+4], b[8:ipv6Len+4])
}

// follows reports whether pkt continues f: next in sequence, the same class,
// flow label, hop limit, acknowledgement, window and options.
func (f *flow) follows(pkt []byte, head int) bool {
	a, b := f.first, pkt
	return !f.closed && head == f.head && len(pkt)-head <= f.size &&
		f.total+len(pkt)-head <= 65535 && f.pieces < len(f.iov) &&
		binary.BigEndian.Uint32(b[ipv6Len+4:]) == f.next &&
		bytes.Equal(a[:4], b[:4]) && a[7] == b[7] &&
		bytes.Equal(a[ipv6Len+8:ipv6Len+13], b[ipv6Len+8:ipv6Len+13]) && // ACK number, data offset
		bytes.Equal(a[ipv6Len+14:ipv6Len+16], b[ipv6Len+14:ipv6Len+16]) && // window
		bytes.Equal(a[ipv6Len+tcpMin:f.head], b[ipv6Len+tcpMin:head])
}

// begin starts a super-packet with its first segment, which stands in buf
// behind vnetLen bytes.
func (f *flow) begin(buf []byte, v vnetHdr, head int) {
	pkt := buf[vnetLen:]
	*f = flow{iov: f.iov, buf: buf, first: pkt, v: v, head: head, size: len(pkt) - head, total: len(pkt)}
	f.next = binary.BigEndian.Uint32(pkt[ipv6Len+4:])
	f.append(buf, pkt, head)
}

// append adds a segment; piece is what of it goes into the list.
func (f *flow) append(piece, pkt []byte, head int) {
	const psh = 0x08
	f.iov[f.pieces].Base = &piece[0]
	f.iov[f.pieces].SetLen(len(piece))
	f.pieces++
	n := len(pkt) - head
	f.next += uint32(n)
	f.closed = n < f.size || pkt[ipv6Len+13]&psh != 0
	f.first[ipv6Len+13] |= pkt[ipv6Len+13] & psh
}

func (f *flow) join(pkt []byte, head int) {
	f.append(pkt[head:], pkt, head)
	f.total += len(pkt) - head
}

// finish writes the headers of what has been joined.
func (f *flow) finish() {
	if f.pieces > 1 {
		upper := f.total - ipv6Len
		binary.BigEndian.PutUint16(f.first[4:], uint16(upper))
		binary.BigEndian.PutUint16(f.first[ipv6Len+16:], fold(pseudo(f.first[8:], upper, protoTCP)))
		f.v = vnetHdr{
			flags: vnetNeedsCsum, gso: gsoTCPv6, hdrLen: uint16(f.head), gsoSize: uint16(f.size),
			csumStart: ipv6Len, csumOffset: 16,
		}
	}
	f.v.put(f.buf)
}

// find returns the index of the flow that pkt belongs to, -1 if none.
func (c *coalescer) find(pkt []byte) int {
	if len(pkt) < ipv6Len+4 {
		return -1
	}
	for i := range c.flows[:c.n] {
		if sameFlow(c.flows[i].first, pkt) {
			return i
		}
	}
	return -1
}
