package tunneltest

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// UDPPort is where the vectors' UDP packets go.
const UDPPort = 4242

// UDP builds an outer IPv4 packet around an IPv6 UDP packet to UDPPort.
func UDP(outerSrc, outerDst, src, dst netip.Addr, payload string) []byte {
	udp := binary.BigEndian.AppendUint16(nil, 5555)
	udp = binary.BigEndian.AppendUint16(udp, UDPPort)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, payload...)
	return Encapsulate(outerSrc, outerDst, Inner(unix.IPPROTO_UDP, 6, src, dst, udp))
}

// Inner builds an IPv6 packet around an upper-layer message and fills in its
// checksum, which is at the offset given.
func Inner(proto byte, csum int, src, dst netip.Addr, upper []byte) []byte {
	p := []byte{0x60, 0, 0, 0, 0, 0, proto, 64}
	binary.BigEndian.PutUint16(p[4:], uint16(len(upper)))
	s, d := src.As16(), dst.As16()
	p = append(append(p, s[:]...), d[:]...)
	pseudo := binary.BigEndian.AppendUint32(append([]byte(nil), p[8:40]...), uint32(len(upper)))
	pseudo = append(pseudo, 0, 0, 0, proto)
	binary.BigEndian.PutUint16(upper[csum:], ^Sum(append(pseudo, upper...)))
	return append(p, upper...)
}

// Encapsulate puts an IPv4 header with protocol 41 before inner.
func Encapsulate(src, dst netip.Addr, inner []byte) []byte {
	h := make([]byte, 20, 20+len(inner))
	h[0], h[8], h[9] = 0x45, 64, unix.IPPROTO_IPV6
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(inner)))
	binary.BigEndian.PutUint16(h[6:], 0x4000)
	s, d := src.As4(), dst.As4()
	copy(h[12:], s[:])
	copy(h[16:], d[:])
	binary.BigEndian.PutUint16(h[10:], ^Sum(h))
	return append(h, inner...)
}

// WithOptions returns an outer packet with four no-operation options.
func WithOptions(pkt []byte) []byte {
	out := append(append(append([]byte{}, pkt[:20]...), 1, 1, 1, 1), pkt[20:]...)
	out[0] = 0x46
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	out[10], out[11] = 0, 0
	binary.BigEndian.PutUint16(out[10:], ^Sum(out[:24]))
	return out
}

// Sum is the ones' complement sum of RFC 1071, slow and obvious.
func Sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// A Wire sends frames on an interface as they are.
type Wire struct {
	ns  *NS
	fd  int
	src []byte
	dst []byte
	idx int
}

// NewWire opens the interface of ns; dst is the Ethernet address of the other
// end.
func NewWire(ns *NS, name string, dst []byte) *Wire {
	ns.tb.Helper()
	w := &Wire{ns: ns, dst: dst}
	ns.Must(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		w.idx, w.src = link.Attrs().Index, link.Attrs().HardwareAddr
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	ns.tb.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// Send puts an IPv4 packet on the wire.
func (w *Wire) Send(pkt []byte) {
	w.ns.tb.Helper()
	frame := append(append(append([]byte{}, w.dst...), w.src...), 8, 0)
	if err := unix.Sendto(w.fd, append(frame, pkt...), 0, &unix.SockaddrLinklayer{Ifindex: w.idx}); err != nil {
		w.ns.tb.Fatal("send frame:", err)
	}
}

// HardwareAddr returns an interface's Ethernet address.
func (n *NS) HardwareAddr(name string) (mac []byte) {
	n.tb.Helper()
	n.Must(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			mac = link.Attrs().HardwareAddr
		}
		return err
	})
	return mac
}
