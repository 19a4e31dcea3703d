package proxy

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// unreachable tells UDP clients that their backend's port is closed, as that
// told us: by ICMP, so that a resolver asks the next server at once instead of
// waiting. It needs CAP_NET_RAW; without it, it does nothing. The zero value
// is ready. It is safe for concurrent use.
type unreachable struct {
	mu     sync.Mutex // guards the fields below
	six    *ipv6.PacketConn
	four   *ipv4.PacketConn
	tried  [2]bool // by family: the sockets are there, or cannot be had
	second int64   // that told counts
	told   int
}

// unreachablePerSecond bounds what is sent: the sources may be forged.
const unreachablePerSecond = 100

// tell sends a port unreachable to client about what it sent to local. Errors
// are of no consequence: the client's own timeout remains.
func (u *unreachable) tell(client, local netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now().Unix(); now != u.second {
		u.second, u.told = now, 0
	}
	if u.told++; u.told > unreachablePerSecond {
		return
	}
	to := &net.IPAddr{IP: client.Addr().AsSlice()}
	from := net.IP(local.Addr().AsSlice())
	if client.Addr().Is4() {
		if u.open4() {
			u.four.WriteTo(portUnreachable4(client, local), &ipv4.ControlMessage{Src: from}, to)
		}
		return
	}
	if u.open6() {
		u.six.WriteTo(portUnreachable6(client, local), &ipv6.ControlMessage{Src: from}, to)
	}
}

// open4 and open6 open the sockets, which receive nothing. u.mu is held.
func (u *unreachable) open4() bool {
	if !u.tried[0] {
		u.tried[0] = true
		if conn, err := net.ListenPacket("ip4:icmp", "0.0.0.0"); err == nil {
			u.four = ipv4.NewPacketConn(conn)
			var none ipv4.ICMPFilter
			none.SetAll(true)
			u.four.SetICMPFilter(&none)
		}
	}
	return u.four != nil
}

func (u *unreachable) open6() bool {
	if !u.tried[1] {
		u.tried[1] = true
		if conn, err := net.ListenPacket("ip6:ipv6-icmp", "::"); err == nil {
			u.six = ipv6.NewPacketConn(conn)
			var none ipv6.ICMPFilter
			none.SetAll(true)
			u.six.SetICMPFilter(&none)
		}
	}
	return u.six != nil
}

func (u *unreachable) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.four != nil {
		u.four.Close()
	}
	if u.six != nil {
		u.six.Close()
	}
	u.four, u.six, u.tried = nil, nil, [2]bool{true, true}
}

// portUnreachable6 is RFC 4443 §3.1, code 4. The kernel fills in the checksum.
func portUnreachable6(client, local netip.AddrPort) []byte {
	quoted := make([]byte, 0, ipv6.HeaderLen+8)
	quoted = append(quoted, 0x60, 0, 0, 0, 0, 8, 17, 64) // version 6, 8 bytes of UDP, hop limit
	quoted = append(quoted, client.Addr().AsSlice()...)
	quoted = append(quoted, local.Addr().AsSlice()...)
	return marshalUnreachable(ipv6.ICMPTypeDestinationUnreachable, 4, appendUDP(quoted, client, local))
}

// portUnreachable4 is RFC 792, code 3.
func portUnreachable4(client, local netip.AddrPort) []byte {
	quoted := make([]byte, 0, ipv4.HeaderLen+8)
	quoted = append(quoted, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0) // 28 bytes, TTL, UDP
	quoted = append(quoted, client.Addr().AsSlice()...)
	quoted = append(quoted, local.Addr().AsSlice()...)
	return marshalUnreachable(ipv4.ICMPTypeDestinationUnreachable, 3, appendUDP(quoted, client, local))
}

// appendUDP appends the header of the client's datagram, as far as its kernel
// needs it to find the socket: the ports.
func appendUDP(quoted []byte, client, local netip.AddrPort) []byte {
	quoted = binary.BigEndian.AppendUint16(quoted, client.Port())
	quoted = binary.BigEndian.AppendUint16(quoted, local.Port())
	return append(quoted, 0, 8, 0, 0)
}

func marshalUnreachable(kind icmp.Type, code int, quoted []byte) []byte {
	message := icmp.Message{Type: kind, Code: code, Body: &icmp.DstUnreach{Data: quoted}}
	data, err := message.Marshal(nil)
	if err != nil {
		return nil
	}
	return data
}
