package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
)

// A guard decides which addresses may be dialled. It judges the address that
// is really connected to, after all name resolution, so that no answer of a
// resolver leads to ourselves or into a cloud's metadata service.
// The zero guard lets every IPv4 address pass but the forbidden ones, and has no
// descriptors to dial with.
type guard struct {
	allowed []netip.Prefix     // nil: not limited
	own     []endpoint         // our listeners and the admin address
	bounds  descriptors.Bounds // of sockets; zero: there are none to be had
}

var errNotIPv4 = errors.New("backends are IPv4 only")

// forbidden are never backends, unless "backends" names them.
func forbidden(ip netip.Addr) string {
	switch {
	case ip.As4()[0] == 0:
		return "0.0.0.0/8 is this machine itself"
	case ip.IsLinkLocalUnicast():
		return "169.254.0.0/16 is link-local: metadata services live there"
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "multicast and broadcast addresses have no server"
	}
	return ""
}

// check gives the reason why addr must not be dialled, or nil. IPv6 has no
// way in, mapped IPv4 neither.
func (g *guard) check(network string, addr netip.AddrPort) error {
	ip := addr.Addr()
	if !ip.Is4() {
		return errNotIPv4
	}
	listed := slices.ContainsFunc(g.allowed, func(p netip.Prefix) bool { return p.Contains(ip) })
	if g.allowed != nil && !listed {
		return fmt.Errorf("%s is outside \"backends\"; add its network there", ip)
	}
	if why := forbidden(ip); why != "" && !listed {
		return fmt.Errorf("%s; name its network in \"backends\" if this is meant", why)
	}
	for _, own := range g.own {
		if own.network != network || own.addr.Port() != addr.Port() {
			continue
		}
		at := own.addr.Addr()
		if at == ip || at == netip.IPv4Unspecified() && isLocal(ip) {
			return fmt.Errorf("%s is our own listener: this would be a loop", addr)
		}
	}
	return nil
}

// control is the Dialer.Control of every connection to a backend.
func (g *guard) control(_ context.Context, network, address string, raw syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: %w", address, err)
	}
	return g.check(network[:3], addr)
}

// A dialFunc connects to a backend.
type dialFunc func(context.Context, netip.AddrPort) (*net.TCPConn, error)

// source is the local address of a connection to a backend.
type source struct {
	addr        netip.Addr // zero: the system chooses
	transparent bool       // addr is not ours: IP_TRANSPARENT
}

// dialTCP connects to a backend. It waits no longer than ctx.
func (g *guard) dialTCP(ctx context.Context, to netip.AddrPort, from source) (*net.TCPConn, error) {
	conn, err := g.dial(ctx, "tcp4", to, from)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// dial connects to a backend over "tcp4" or "udp4".
func (g *guard) dial(ctx context.Context, network string, to netip.AddrPort, from source) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAlive: -1, // both idle and life are bounded by us
		ControlContext: func(ctx context.Context, network, address string, raw syscall.RawConn) error {
			if err := g.control(ctx, network, address, raw); err != nil {
				return err
			}
			return errors.Join(g.bounds.Control(network, address, raw), from.prepare(raw))
		},
	}
	switch ip := from.addr.AsSlice(); {
	case ip == nil:
	case network == "udp4":
		dialer.LocalAddr = &net.UDPAddr{IP: ip}
	default:
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	return dialer.DialContext(ctx, network, to.String())
}

// prepare sets what a chosen source address needs before bind.
func (from source) prepare(raw syscall.RawConn) error {
	if !from.addr.IsValid() {
		return nil
	}
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		// The port is chosen at connect, per destination: without this a
		// source address ends at 28,232 connections over all backends.
		err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err == nil && from.transparent {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1)
		}
	})
	return errors.Join(controlErr, err)
}

// addrPort is from as the pipe engine takes it.
func (from source) addrPort() netip.AddrPort { return netip.AddrPortFrom(from.addr, 0) }
