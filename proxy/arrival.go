package proxy

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
)

// An arrival is a connection that was accepted, with what is known about it
// before any byte of the service is read.
type arrival struct {
	server *Server
	state  *state // of the moment of arrival
	svc    *service
	door   *door
	conn   *net.TCPConn
	began  time.Time

	peer   netip.AddrPort // the socket's other end, canonical
	client netip.AddrPort // who connects, canonical: peer, or whom its PROXY header names
	local  netip.AddrPort // where the client connected to
	tunnel bool           // came in by the tunnel's interface
}

// arrive leads a new connection to its service. It does not wait for the
// network: what has to read first goes on in a goroutine of its own.
func (s *Server) arrive(d *door, conn *net.TCPConn) {
	a := &arrival{server: s, state: s.state.Load(), door: d, conn: conn, began: time.Now()}
	if a.svc = a.state.services[d.endpoint]; a.svc == nil {
		a.refuse() // a reload took the listener away meanwhile
		return
	}
	var err error
	if a.peer, err = canonicalPeer(conn.RemoteAddr()); err != nil {
		s.stats.hostile[1].Add(1)
		s.log.Warn("connection refused", "peer", conn.RemoteAddr().String(), "listener", d.endpoint.String(), "cause", err)
		a.refuse()
		return
	}
	a.client = a.peer
	a.local = localAddr(conn)
	a.tunnel = a.state.viaTunnel(conn, a.peer)
	s.stats.accepted[family(a.addr())].Add(1)
	a.enter()
}

// addr is the client as rules see it.
func (a *arrival) addr() acl.Addr { return acl.AddrFrom(a.client.Addr()) }

// refuse ends the arrival with an RST.
func (a *arrival) refuse() {
	reset(a.conn)
	a.server.conns.release()
}

var errMapped = errors.New("IPv4-mapped source on an IPv6 socket: forged")

// canonicalPeer gives the address of a socket's other end, without zone. Our
// IPv6 sockets are IPv6 only, so a mapped source was spelled so on the wire:
// it is hostile, and no rule shall see it as the IPv4 address that it claims.
func canonicalPeer(remote net.Addr) (netip.AddrPort, error) {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, errors.New("not a TCP address")
	}
	addr := tcp.AddrPort()
	if acl.IsMapped(addr.Addr()) {
		return netip.AddrPort{}, errMapped
	}
	return netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port()), nil
}

func localAddr(conn *net.TCPConn) netip.AddrPort {
	tcp, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	addr := tcp.AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
}

// viaTunnel tells whether the kernel took conn in by the tunnel's interface.
// Linux initialises the multicast interface of an accepted IPv6 socket with
// that of the SYN (tcp_v6_syn_recv_sock); nothing else tells it for TCP.
func (st *state) viaTunnel(conn *net.TCPConn, peer netip.AddrPort) bool {
	if st.config.TunnelInterface == "" || !peer.Addr().Is6() {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	came, tunnel := 0, 0
	controlErr := raw.Control(func(fd uintptr) {
		came, err = unix.GetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_MULTICAST_IF)
		if err == nil {
			tunnel, err = interfaceIndex(int(fd), st.config.TunnelInterface)
		}
	})
	return err == nil && controlErr == nil && came != 0 && came == tunnel
}

// interfaceIndex looks an interface up by any socket: each time, as it may
// have been made anew under its name.
func interfaceIndex(fd int, name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}
