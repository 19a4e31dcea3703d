package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// An inheritance is the sockets that another process has opened for this one:
// systemd, or the Genkan before.
type inheritance struct {
	doors map[endpoint]*door
}

// Inherit takes over sockets that another process has opened: where Listen
// would open one, it takes that one. Those that the configuration has no use
// for are closed then. Call it before Listen. A socket that takes IPv4 and IPv6
// is taken for TCP, with a warning; for UDP it is refused: there a forged mapped
// source cannot be told from an IPv4 client.
func (s *Server) Inherit(files []*os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range files {
		d, err := inherit(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("inherited socket %q: %w", f.Name(), err))
			continue
		}
		if s.inherited.doors == nil {
			s.inherited.doors = map[endpoint]*door{}
		}
		s.inherited.doors[d.endpoint] = d
	}
	return errors.Join(errs...)
}

// inherit makes a door of a socket, and closes f.
func inherit(f *os.File) (*door, error) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var d door
	controlErr := raw.Control(func(fd uintptr) { err = d.describe(int(fd)) })
	if err = errors.Join(controlErr, err); err != nil {
		return nil, err
	}
	if d.endpoint.network == "udp" {
		if d.dual {
			return nil, errors.New("UDP for IPv4 and IPv6 at once; write BindIPv6Only=ipv6-only into the socket unit, and a ListenDatagram=0.0.0.0:PORT for IPv4")
		}
		pc, err := net.FilePacketConn(f)
		if err != nil {
			return nil, err
		}
		d.udp = pc.(*net.UDPConn)
		return &d, nil
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	d.tcp = ln.(*net.TCPListener)
	return &d, nil
}

// describe finds out what a socket is, and sets what may be set after bind.
func (d *door) describe(fd int) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		d.endpoint.addr = netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(at.Addr)
		if by, err := net.InterfaceByIndex(int(at.ZoneId)); err == nil && at.ZoneId != 0 {
			ip = ip.WithZone(by.Name)
		}
		d.endpoint.addr = netip.AddrPortFrom(ip, uint16(at.Port))
		only, err := unix.GetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		d.dual = only == 0 && ip.IsUnspecified()
	default:
		return errors.New("neither IPv4 nor IPv6; Genkan listens on TCP and UDP only")
	}
	switch kind {
	case unix.SOCK_STREAM:
		d.endpoint.network = "tcp"
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			return errors.New("a TCP socket that does not listen; write Accept=no into the socket unit")
		}
		if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_TCP {
			return errors.New("not plain TCP; leave SocketProtocol= out of the socket unit")
		}
		return streamOptions(fd)
	case unix.SOCK_DGRAM:
		d.endpoint.network = "udp"
		return nil
	}
	return errors.New("neither TCP nor UDP")
}

// take gives the inherited socket for e, nil where there is none.
func (i *inheritance) take(e endpoint) *door {
	d := i.doors[e]
	if d == nil && e.addr.Addr() == netip.IPv4Unspecified() {
		if both := i.doors[e.other()]; both != nil && both.dual {
			d = both
		}
	}
	if d != nil {
		delete(i.doors, d.endpoint)
	}
	return d
}

// closeRest closes what nobody wanted, and tells of it.
func (s *Server) closeRest() {
	for e, d := range s.inherited.doors {
		s.log.Warn("inherited socket closed: the configuration does not listen there", "listener", e.String())
		d.close()
	}
	s.inherited.doors = nil
}

// other is the wildcard of the other family, for a wildcard.
func (e endpoint) other() endpoint {
	ip := netip.IPv6Unspecified()
	if e.addr.Addr() == ip {
		ip = netip.IPv4Unspecified()
	}
	e.addr = netip.AddrPortFrom(ip, e.addr.Port())
	return e
}

// covers tells whether clients of e come in by d.
func (d *door) covers(e endpoint) bool {
	return d.endpoint == e || d.dual && e.addr.Addr() == netip.IPv4Unspecified() && e.other() == d.endpoint
}

// doorOf gives the open door for e, nil where there is none.
func (s *Server) doorOf(e endpoint) *door {
	if d := s.doors[e]; d != nil {
		return d
	}
	if e.addr.Addr() == netip.IPv4Unspecified() {
		if d := s.doors[e.other()]; d != nil && d.dual {
			return d
		}
	}
	return nil
}

// wants tells whether some service of st is behind d.
func (st *state) wants(d *door) bool {
	return st.services[d.endpoint] != nil || d.dual && st.services[d.endpoint.other()] != nil
}
