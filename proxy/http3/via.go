package http3

import (
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// tunnelZone marks the address of a packet that came in by the tunnel:
// quic-go hands nothing else of a packet on, and a global address has no zone
// of its own. No packet is sent to it so (WriteMsgUDP).
const tunnelZone = "tunnel"

// ViaTunnel reports whether an address that Config.Accept and Enter are given
// belongs to somebody whose packets came in by the tunnel's interface.
func ViaTunnel(client netip.AddrPort) bool { return client.Addr().Zone() == tunnelZone }

// mark marks what came in by the tunnel.
func (s *Socket) mark(ms []ipv4.Message) {
	if s.via == nil {
		return
	}
	for i := range ms {
		if from, ok := ms[i].Addr.(*net.UDPAddr); ok && !from.IP.IsLinkLocalUnicast() && s.via(arrivedBy(ms[i].OOB[:ms[i].NN])) {
			from.Zone = tunnelZone
		}
	}
}

// arrivedBy is the index of the interface that a packet came in by, as
// IPV6_PKTINFO tells; 0: it does not.
func arrivedBy(control []byte) int {
	for len(control) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo {
			return int((*unix.Inet6Pktinfo)(unsafe.Pointer(unsafe.SliceData(data))).Ifindex)
		}
		control = rest
	}
	return 0
}

// WriteMsgUDP is how quic-go writes.
func (s *Socket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	if to.Zone == tunnelZone {
		plain := *to
		plain.Zone = ""
		to = &plain
	}
	return s.UDPConn.WriteMsgUDP(b, oob, to)
}
