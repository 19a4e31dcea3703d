package firewall

import (
	"encoding/binary"
	"net/netip"
)

// A Hook is the way of a packet. The zero Hook is Input.
type Hook int

const (
	Input  Hook = iota // from a link to a program of this host
	Output             // from a program of this host to a link
)

// A Packet is what is judged. IPv4 or IPv6 is told by Src.
type Packet struct {
	Hook             Hook
	In, Out          string // the link's name: In for Input, Out for Output
	Src, Dst         netip.Addr
	Proto            uint8 // 6 TCP, 17 UDP, 41 IPv6, 58 ICMPv6
	SrcPort, DstPort uint16
	Type             uint8 // of ICMPv6
	State            State
}

// A State is what connection tracking says. The zero State is New.
type State int

const (
	New State = iota
	Established
	Related // an ICMP error about a connection
)

// bits are NFT_CT_STATE's, and XT_CONNTRACK_STATE's.
func (s State) bits() uint32 {
	return [...]uint32{New: 1 << 3, Established: 1 << 1, Related: 1 << 2}[s]
}

// network is the packet's IP header, without extensions or options.
func (p Packet) network() []byte {
	if p.Src.Is4() {
		b := make([]byte, 20)
		b[0], b[8], b[9] = 0x45, 64, p.Proto
		copy(b[12:], p.Src.AsSlice())
		copy(b[16:], p.Dst.AsSlice())
		return b
	}
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, p.Proto, hopLimit
	copy(b[8:], p.Src.AsSlice())
	copy(b[24:], p.Dst.AsSlice())
	return b
}

const hopLimit = 64

// transport is the header behind it: a SYN, or SYN and ACK, of TCP.
func (p Packet) transport() []byte {
	b := make([]byte, 20)
	switch p.Proto {
	case protoTCP, protoUDP:
		binary.BigEndian.PutUint16(b, p.SrcPort)
		binary.BigEndian.PutUint16(b[2:], p.DstPort)
		b[12], b[13] = 0x50, 0x02
		if p.State == Established {
			b[13] = 0x12
		}
	case protoICMPv6:
		b[0] = p.Type
	case protoIPv6:
		b[0] = 0x60
	}
	return b
}

const (
	protoTCP    = 6
	protoUDP    = 17
	protoIPv6   = 41
	protoICMPv6 = 58
)
