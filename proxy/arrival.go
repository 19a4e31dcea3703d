package proxy

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
	"genkan/proxy/pipe"
)

// An arrival is a connection that was accepted, with what is known about it
// before any byte of the service is read.
type arrival struct {
	server *Server
	state  *state // of the moment of arrival
	svc    *service
	door   *door
	at     endpoint // whose services the client came for: door's, but for IPv4 by a dual-stack one
	began  time.Time

	// The connection is raw on the engine's loop until it is decided on, and
	// conn where it was taken from there.
	raw  *pipe.Conn
	conn *net.TCPConn

	peer   netip.AddrPort // the socket's other end, canonical
	client netip.AddrPort // who connects, canonical: peer, or whom its PROXY header names
	local  netip.AddrPort // where the client connected to
	tunnel bool           // came in by the tunnel's interface
}

// arrive leads a new connection to its service. It must not block: it runs on
// a loop of the pipe engine. What has to be read first is read in a goroutine
// of its own.
func (s *Server) arrive(d *door, c *pipe.Conn) {
	s.gate.enter()
	a := &arrival{server: s, state: s.state.Load(), door: d, began: time.Now(), raw: c}
	from, local := c.Client(), c.Local()
	if a.at = d.endpoint; d.dual && acl.IsMapped(from.Addr()) {
		// The kernel's spelling of an IPv4 client: over TCP nobody can forge it.
		from, local = unmapped(from), unmapped(local)
		a.at = a.at.other()
	}
	if a.svc = a.state.services[a.at]; a.svc == nil {
		a.refuse() // a reload took the listener away meanwhile
		return
	}
	var err error
	if a.peer, err = canonicalPeer(from); err != nil {
		s.stats.hostile[1].Add(1)
		s.log.Warn("connection refused", "peer", from.Addr().Unmap(), "listener", d.endpoint.String(), "cause", err)
		a.refuse()
		return
	}
	a.client, a.local = a.peer, local
	a.tunnel = a.state.viaTunnel(c, a.peer)
	s.stats.accepted[family(a.addr())].Add(1)
	a.enter()
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

var errMapped = errors.New("IPv4-mapped source on an IPv6 socket: forged")

// canonicalPeer gives the address of a socket's other end, without zone. Our
// IPv6 sockets are IPv6 only, so a mapped source was spelled so on the wire:
// it is hostile, and no rule shall see it as the IPv4 address that it claims.
func canonicalPeer(peer netip.AddrPort) (netip.AddrPort, error) {
	if acl.IsMapped(peer.Addr()) {
		return netip.AddrPort{}, errMapped
	}
	return netip.AddrPortFrom(peer.Addr().WithZone(""), peer.Port()), nil
}

// addr is the client as rules see it.
func (a *arrival) addr() acl.Addr { return acl.AddrFrom(a.client.Addr()) }

// refuse ends the arrival with an RST.
func (a *arrival) refuse() {
	if raw := a.raw; raw != nil {
		a.raw = nil
		raw.Refuse()
	} else {
		reset(a.conn)
	}
	a.server.gate.leave()
}

// take makes an ordinary connection of the arrival. When that fails the
// arrival has ended.
func (a *arrival) take() bool {
	if a.conn != nil {
		return true
	}
	conn, err := a.raw.Take()
	if err != nil {
		a.server.log.Warn("connection refused", "client", a.client.Addr(), "listener", a.door.endpoint.String(), "cause", err)
		a.server.gate.leave()
		return false
	}
	a.raw, a.conn = nil, conn
	return true
}

// pipe gives the arrival to the engine.
func (a *arrival) pipe(plan pipe.Plan) *pipe.Stream {
	if raw := a.raw; raw != nil {
		a.raw = nil
		return raw.Forward(plan)
	}
	return a.server.pipe.Forward(a.conn, plan)
}

// A controller gives access to a socket, as syscall.RawConn does.
type controller interface{ Control(func(fd uintptr)) }

// viaTunnel tells whether the kernel took a connection in by the tunnel's
// interface. Linux initialises the multicast interface of an accepted IPv6
// socket with that of the SYN (tcp_v6_syn_recv_sock); nothing else tells it
// for TCP.
func (st *state) viaTunnel(conn controller, peer netip.AddrPort) bool {
	if st.config.TunnelInterface == "" || !peer.Addr().Is6() {
		return false
	}
	came, tunnel, err := 0, 0, error(nil)
	conn.Control(func(fd uintptr) {
		came, err = unix.GetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_MULTICAST_IF)
		if err == nil {
			tunnel, err = interfaceIndex(int(fd), st.config.TunnelInterface)
		}
	})
	return err == nil && came != 0 && came == tunnel
}
