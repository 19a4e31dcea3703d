package user

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// rcvBuf bounds what waits in the kernel for our receiver: some 100
// super-packets.
const rcvBuf = 8 << 20

// openPacket opens the receiver: every IPv4 packet with protocol 41 that comes
// to local by any interface, with its link header and a virtio_net_hdr.
//
// ETH_P_IP, not ETH_P_ALL: the packet is then seen once, on the interface that
// delivers it (not on the ports of a bridge or bond too), and what we send is
// not seen at all. A raw socket would not do: it cannot say that the inner
// checksum is still to be filled in, or that several packets came as one.
func openPacket(local netip.Addr) (int, error) {
	// Protocol 0 receives nothing until bind, when the filter is in place.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	err = attachFilter(fd, receiveFilter(local.As4()))
	if err == nil {
		err = setInts(fd, []intOption{
			{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
			{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		})
	}
	if err == nil {
		setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, rcvBuf)
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP)})
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	return fd, nil
}

// receiveFilter passes what is for this host (not for another MAC address, on
// a promiscuous interface), protocol 41, to local.
func receiveFilter(local [4]byte) []unix.SockFilter {
	const (
		netOff  = 0xfff00000 // SKF_NET_OFF: from the network header on, whatever the link
		pktType = 0xfffff004 // SKF_AD_OFF + SKF_AD_PKTTYPE
	)
	dst := uint32(local[0])<<24 | uint32(local[1])<<16 | uint32(local[2])<<8 | uint32(local[3])
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: pktType},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PACKET_HOST, Jf: 5},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: netOff + 9},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_IPV6, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: netOff + 16},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: dst, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

// openSender opens a packet socket that only sends.
func openSender() (int, error) {
	// SOCK_DGRAM: the kernel makes the link header, whatever the link.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, rcvBuf)
	return fd, nil
}

// openHeader opens a raw socket that takes packets with their IPv4 header. The
// kernel finds the neighbour, and refuses what does not fit the link.
func openHeader() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, fmt.Errorf("raw socket: %w", err)
	}
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, rcvBuf)
	return fd, nil
}

// openRaw opens a raw protocol-41 socket bound to local. It sends: the kernel
// makes the IPv4 header, finds the neighbour, and fragments. It receives
// nothing, but as a listener for protocol 41 it keeps the kernel from answering
// each packet with "protocol unreachable", and has it learn the path's MTU from
// the ICMP errors that our packets cause. One is enough: each gets a copy of
// each packet before its filter drops it.
func openRaw(local netip.Addr, ttl int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_IPV6)
	if err != nil {
		return -1, fmt.Errorf("raw socket: %w", err)
	}
	err = attachFilter(fd, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}})
	if err == nil {
		err = setInts(fd, []intOption{
			{unix.IPPROTO_IP, unix.IP_FREEBIND, 1},
			{unix.IPPROTO_IP, unix.IP_TTL, ttl},
			{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT},
		})
	}
	if err == nil {
		setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, rcvBuf)
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: local.As4()})
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("raw socket bound to %s: %w", local, err)
	}
	return fd, nil
}

func attachFilter(fd int, prog []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

type intOption struct{ level, name, value int }

func setInts(fd int, opts []intOption) error {
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError(fmt.Sprintf("setsockopt %d/%d", o.level, o.name), err)
		}
	}
	return nil
}

// setBuffer asks for a large buffer and is content with a smaller one: in a
// user namespace the limit of the host holds.
func setBuffer(fd, force, plain, n int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, n) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, n)
	}
}

// htons gives v the byte order of the wire.
func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
