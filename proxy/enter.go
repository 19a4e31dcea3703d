package proxy

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
	"genkan/proxy/proxyproto"
	"genkan/proxy/sni"
)

// enter gives the arrival to what stands behind its listener. What has to read
// from the client first does so in a goroutine of its own; the others are on
// their way when enter returns.
func (a *arrival) enter() {
	listed := a.svc.announcedBy(a.peer.Addr())
	switch {
	case listed:
		a.wait(a.introduced)
	case len(a.svc.acceptProxy) > 0 && a.svc.forward != nil:
		a.wait(a.unannounced)
	default:
		a.welcome()
	}
}

// announcedBy tells whether peer is one that has to send a PROXY header.
func (svc *service) announcedBy(peer netip.Addr) bool {
	addr := acl.AddrFrom(peer)
	return slices.ContainsFunc(svc.acceptProxy, func(p acl.Prefix) bool { return p.Contains(addr) })
}

// wait runs step, which may read, with a stream by which it can be cut.
func (a *arrival) wait(step func()) {
	if !a.take() {
		return
	}
	s := a.server
	one := &stream{client: a.addr(), network: "tcp"}
	one.cutWith(func() { a.conn.SetReadDeadline(time.Unix(1, 0)) })
	s.conns.add(one)
	s.entering.Go(func() {
		defer s.conns.remove(one)
		step()
	})
}

// introduced reads the PROXY header that this peer must send.
func (a *arrival) introduced() {
	h, err := proxyproto.Read(a.conn, a.state.timeouts.Header)
	if err != nil {
		a.server.stats.hostile[family(a.addr())].Add(1)
		a.server.log.Warn("connection refused", "peer", a.peer, "listener", a.door.endpoint.String(), "cause", err)
		a.refuse()
		return
	}
	if !h.Local {
		a.client, a.local = h.Source, h.Dest
		// What the tunnel has checked is the peer's address, not the client's.
		a.tunnel = false
	}
	a.welcome()
}

// strangerWait is how long the first bytes of a peer are waited for that must
// not send a PROXY header. Who says nothing for so long (the server may have
// to speak first) is let in.
const strangerWait = 250 * time.Millisecond

var errUninvited = errors.New("a PROXY header from a peer that accept_proxy does not name")

// unannounced sees to it that a peer which must not send a PROXY header does
// not get one through to the backend.
func (a *arrival) unannounced() {
	looks := true
	peek(a.conn, time.Now().Add(strangerWait), 16, func(data []byte) bool {
		looks = proxyproto.Looks(data)
		return !looks
	})
	if looks && a.hasBytes() {
		a.server.stats.hostile[family(a.addr())].Add(1)
		a.server.log.Warn("connection refused", "peer", a.peer, "listener", a.door.endpoint.String(), "cause", errUninvited)
		a.refuse()
		return
	}
	a.welcome()
}

// hasBytes tells whether the client has sent something.
func (a *arrival) hasBytes() bool {
	n, _ := peek(a.conn, time.Now().Add(time.Millisecond), 1, func([]byte) bool { return true })
	return n > 0
}

// welcome goes on with a client that is known now.
func (a *arrival) welcome() {
	switch {
	case a.svc.data != nil:
		a.arriveData(a.svc.data)
	case !a.svc.sni.Empty():
		a.wait(a.sniff)
	case a.svc.forward != nil:
		a.forward(a.svc.forward, sni.Hello{})
	default:
		a.server.web.take(a)
	}
}

// sniff finds the forward of the name in the client's TLS ClientHello. Without
// TLS, without a name or with one that no forward has, the listener's other
// forward or its sites get the connection. With ECH the name that counts is
// the public one.
func (a *arrival) sniff() {
	hello, err := sni.Hello{}, sni.ErrShort
	peek(a.conn, time.Now().Add(a.state.timeouts.Header), sni.MaxBytes, func(data []byte) bool {
		hello, err = sni.Parse(data)
		return !errors.Is(err, sni.ErrShort)
	})
	if errors.Is(err, sni.ErrShort) {
		a.server.log.Info("connection refused", "client", a.client.Addr(), "listener", a.door.endpoint.String(), "cause", "no whole TLS ClientHello", "waited", since(a.began))
		a.refuse()
		return
	}
	if f, ok := a.svc.sni.Find(hello.Name); ok && err == nil {
		a.forward(f, hello)
		return
	}
	switch {
	case a.svc.forward != nil:
		a.forward(a.svc.forward, hello)
	case !a.svc.sites.Empty():
		a.server.web.take(a)
	default:
		a.server.log.Info("connection refused", "client", a.client.Addr(), "listener", a.door.endpoint.String(), "cause", "no forward for this name", "sni", hello.Name, "ech", hello.ECH)
		a.refuse()
	}
}

// peek looks at the first bytes of conn, up to limit, without taking them: the
// pipe engine gets the connection as it came. It calls enough with all bytes
// so far, each time that there are more, until that is true, limit is
// reached, or the deadline is over. It gives the number of bytes seen.
func peek(conn *net.TCPConn, deadline time.Time, limit int, enough func([]byte) bool) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	if err := conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	defer conn.SetReadDeadline(time.Time{})
	buffer := make([]byte, min(limit, 2<<10)) // grows: most have little to say
	seen := 0
	var result error
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		for err == nil && n == len(buffer) && n < limit {
			buffer = make([]byte, min(limit, 2*n))
			n, _, err = unix.Recvfrom(int(fd), buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		}
		switch {
		case err == unix.EAGAIN || err == unix.EINTR || err == nil && n == seen && n > 0:
			return false
		case err != nil || n == 0:
			result = err
			return true
		}
		seen = n
		return enough(buffer[:n]) || n == limit
	})
	return seen, errors.Join(err, result)
}
