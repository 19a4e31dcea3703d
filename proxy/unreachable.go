package proxy

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// A refusal is why datagrams do not reach a backend, as ICMP told us and as we
// tell the client.
type refusal struct {
	text      string
	four, six int // the code of "destination unreachable"
}

// refusalOf gives what an error of a connected socket means; nil for those that
// say nothing about the backend. Linux reports only what is final: of "host"
// and "network unreachable" these are the prohibited ones (RFC 1122 §3.2.2.1).
func refusalOf(err error) *refusal {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return nil
	}
	switch errno {
	case unix.ECONNREFUSED, unix.ENOPROTOOPT:
		return &refusal{"port unreachable", 3, 4} // RFC 792, RFC 4443 §3.1
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EACCES:
		return &refusal{"unreachable, administratively prohibited", 13, 1} // RFC 1812 §5.2.7.1, RFC 4443 §3.1
	}
	return nil
}

// unreachable tells UDP clients that their backend cannot be reached, as was
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

// tell passes r on to client, about what it sent to local. Errors are of no
// consequence: the client's own timeout remains.
func (u *unreachable) tell(r *refusal, client, local netip.AddrPort) {
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
			u.four.WriteTo(unreachable4(r.four, client, local), &ipv4.ControlMessage{Src: from}, to)
		}
		return
	}
	if u.open6() {
		u.six.WriteTo(unreachable6(r.six, client, local), &ipv6.ControlMessage{Src: from}, to)
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

// unreachable6 is RFC 4443 §3.1. The kernel fills in the checksum.
func unreachable6(code int, client, local netip.AddrPort) []byte {
	quoted := make([]byte, 0, ipv6.HeaderLen+8)
	quoted = append(quoted, 0x60, 0, 0, 0, 0, 8, 17, 64) // version 6, 8 bytes of UDP, hop limit
	quoted = append(quoted, client.Addr().AsSlice()...)
	quoted = append(quoted, local.Addr().AsSlice()...)
	return marshalUnreachable(ipv6.ICMPTypeDestinationUnreachable, code, appendUDP(quoted, client, local))
}

// unreachable4 is RFC 792.
func unreachable4(code int, client, local netip.AddrPort) []byte {
	quoted := make([]byte, 0, ipv4.HeaderLen+8)
	quoted = append(quoted, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0) // 28 bytes, TTL, UDP
	quoted = append(quoted, client.Addr().AsSlice()...)
	quoted = append(quoted, local.Addr().AsSlice()...)
	return marshalUnreachable(ipv4.ICMPTypeDestinationUnreachable, code, appendUDP(quoted, client, local))
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
