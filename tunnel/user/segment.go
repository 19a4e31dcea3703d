package user

import "encoding/binary"

const (
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	// headMax bounds the headers of a super-packet: IPv6, extension headers,
	// TCP with options.
	headMax = 256
)

// A super is a packet as the TUN device delivers it: whole, or one that stands
// for many (TCP or UDP segmentation offload), which the IPv4 path cannot carry
// in protocol 41. It is cut here, without copying the payload.
type super struct {
	pkt  []byte
	hdr  vnetHdr
	head int // length of the headers that each segment repeats
}

// parseSuper checks what the virtio_net_hdr claims about pkt, whose IPv6 header
// has been checked.
func parseSuper(hdr vnetHdr, pkt []byte) (super, bool) {
	s := super{pkt: pkt, hdr: hdr, head: len(pkt)}
	start := int(hdr.csumStart)
	if hdr.flags&vnetNeedsCsum != 0 && (start < 40 || start+int(hdr.csumOffset)+2 > len(pkt)) {
		return s, false
	}
	switch hdr.gso &^ gsoECN {
	case gsoNone:
		s.hdr.gsoSize = 0
		return s, true
	case gsoTCPv6:
		// The kernel's hdr_len is not reliable for forwarded packets.
		if start+20 > len(pkt) {
			return s, false
		}
		s.head = start + int(pkt[start+12]>>4)*4
	case gsoUDPL4:
		s.head = start + 8
	default:
		return s, false
	}
	return s, hdr.flags&vnetNeedsCsum != 0 && hdr.gsoSize > 0 && s.head <= min(len(pkt), headMax)
}

// count returns the number of segments.
func (s *super) count() int {
	if s.hdr.gsoSize == 0 {
		return 1
	}
	return max(1, (len(s.pkt)-s.head+int(s.hdr.gsoSize)-1)/int(s.hdr.gsoSize))
}

// segment returns the i-th segment as headers and payload. The headers are
// written to buf, the payload points into the packet. The checksum field holds
// the sum of the pseudo-header; complete finishes it.
func (s *super) segment(i int, buf []byte) (head, payload []byte) {
	if s.hdr.gsoSize == 0 {
		return s.pkt[:s.head], nil
	}
	size := int(s.hdr.gsoSize)
	from := s.head + i*size
	to := min(from+size, len(s.pkt))
	head = buf[:copy(buf, s.pkt[:s.head])]
	payload = s.pkt[from:to]
	last := to == len(s.pkt)

	start := int(s.hdr.csumStart)
	upper := len(head) - start + len(payload)
	binary.BigEndian.PutUint16(head[4:], uint16(len(head)-40+len(payload)))
	proto := uint8(protoTCP)
	if s.hdr.gso&^gsoECN == gsoUDPL4 {
		proto = protoUDP
		binary.BigEndian.PutUint16(head[start+4:], uint16(upper))
	} else {
		const fin, psh, cwr = 0x01, 0x08, 0x80
		binary.BigEndian.PutUint32(head[start+4:], binary.BigEndian.Uint32(head[start+4:])+uint32(i*size))
		if !last {
			head[start+13] &^= fin | psh
		}
		if i > 0 {
			head[start+13] &^= cwr // RFC 3168 §6.1.2: once
		}
	}
	binary.BigEndian.PutUint16(head[start+int(s.hdr.csumOffset):], fold(pseudo(head[8:], upper, proto)))
	return head, payload
}

// complete computes the checksum that the kernel left to be done, where it did.
func (s *super) complete(head, payload []byte) {
	if s.hdr.flags&vnetNeedsCsum == 0 {
		return
	}
	start := int(s.hdr.csumStart)
	at := start + int(s.hdr.csumOffset)
	// The field holds the sum of the pseudo-header: summing over it includes it.
	sum16 := ^fold(sum(sum(0, head[start:]), payload))
	if sum16 == 0 && s.hdr.csumOffset == 6 {
		sum16 = 0xffff // UDP: 0 would mean none (RFC 8200 §8.1)
	}
	binary.BigEndian.PutUint16(head[at:], sum16)
}
