package user

import "encoding/binary"

// vnetLen is the length of struct virtio_net_hdr, which stands before every
// packet of the TUN device and of the packet sockets. It says what the kernel
// left to be done: a checksum, the segmentation. Its byte order is the host's.
const vnetLen = 10

const (
	vnetNeedsCsum = 1

	gsoNone  = 0
	gsoTCPv6 = 4
	gsoUDPL4 = 5
	gsoECN   = 0x80
)

// vnetHdr is struct virtio_net_hdr. Offsets count from the first byte after it.
type vnetHdr struct {
	flags      uint8
	gso        uint8
	hdrLen     uint16
	gsoSize    uint16
	csumStart  uint16
	csumOffset uint16
}

// parseVnet reads the header at the start of b, which holds vnetLen bytes.
func parseVnet(b []byte) vnetHdr {
	_ = b[vnetLen-1]
	return vnetHdr{
		flags:      b[0],
		gso:        b[1],
		hdrLen:     binary.NativeEndian.Uint16(b[2:]),
		gsoSize:    binary.NativeEndian.Uint16(b[4:]),
		csumStart:  binary.NativeEndian.Uint16(b[6:]),
		csumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// put writes the header to the start of b.
func (h vnetHdr) put(b []byte) {
	_ = b[vnetLen-1]
	b[0], b[1] = h.flags, h.gso
	binary.NativeEndian.PutUint16(b[2:], h.hdrLen)
	binary.NativeEndian.PutUint16(b[4:], h.gsoSize)
	binary.NativeEndian.PutUint16(b[6:], h.csumStart)
	binary.NativeEndian.PutUint16(b[8:], h.csumOffset)
}

// stripped returns the header for the same packet without its first n bytes,
// of which then size remain. It reports false where that makes no sense: the
// checksum or the header to be split would lie outside of what remains.
func (h vnetHdr) stripped(n, size int) (vnetHdr, bool) {
	out := vnetHdr{gso: h.gso, gsoSize: h.gsoSize}
	if h.flags&vnetNeedsCsum != 0 {
		start := int(h.csumStart) - n
		if start < 40 || start+int(h.csumOffset)+2 > size {
			return vnetHdr{}, false
		}
		out.flags, out.csumStart, out.csumOffset = vnetNeedsCsum, uint16(start), h.csumOffset
	}
	switch h.gso &^ gsoECN {
	case gsoNone:
		out.gsoSize = 0
		return out, true
	case gsoTCPv6, gsoUDPL4:
	default: // an inner IPv4 packet, or something new
		return vnetHdr{}, false
	}
	// A super-packet without a partial checksum is one whose checksum the
	// card has verified; the TUN device takes none.
	head := int(h.hdrLen) - n
	if out.flags == 0 || h.gsoSize == 0 || head > size {
		return vnetHdr{}, false
	}
	out.hdrLen = uint16(max(head, int(out.csumStart)+int(out.csumOffset)+2))
	return out, true
}
