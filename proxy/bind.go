package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"genkan/proxy/datagram"
	"genkan/proxy/http3"
	"genkan/proxy/pipe"
)

// A door is one open socket that clients come in by.
type door struct {
	endpoint endpoint
	tcp      *net.TCPListener
	udp      *net.UDPConn
	dual     bool // tcp takes IPv4 clients too: systemd has opened it so
	once     sync.Once

	accepting *pipe.Listener   // of tcp, once served; guarded by Server.mu
	datagrams *datagram.Socket // of udp, likewise
	sessions  *udpDoor         // of datagrams
	quic      *http3.Socket    // of udp, where sites are behind it
}

// openDoor binds e. IPv4 and IPv6 never share a socket: on a dual-stack one a
// forged mapped source cannot be told from an IPv4 client. The address need
// not be there yet (freebind), nor be through with duplicate address detection.
func openDoor(e endpoint) (*door, error) {
	lc := net.ListenConfig{
		Control:   func(_, _ string, raw syscall.RawConn) error { return prepareSocket(e, raw) },
		KeepAlive: -1, // accepted sockets inherit it from the listener, for no system call
	}
	lc.SetMultipathTCP(false)
	family := "6"
	if e.addr.Addr().Is4() {
		family = "4"
	}
	d := &door{endpoint: e}
	var err error
	if e.network == "udp" {
		var pc net.PacketConn
		if pc, err = lc.ListenPacket(context.Background(), "udp"+family, e.addr.String()); err == nil {
			d.udp = pc.(*net.UDPConn)
		}
	} else {
		var ln net.Listener
		if ln, err = lc.Listen(context.Background(), "tcp"+family, e.addr.String()); err == nil {
			d.tcp = ln.(*net.TCPListener)
		}
	}
	if err != nil {
		return nil, bindError(e, err)
	}
	return d, nil
}

// prepareSocket sets what has to be set before bind.
func prepareSocket(e endpoint, raw syscall.RawConn) error {
	var err error
	set := func(fd uintptr, level, option, value int) {
		if err == nil {
			err = unix.SetsockoptInt(int(fd), level, option, value)
		}
	}
	controlErr := raw.Control(func(fd uintptr) {
		set(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
		if e.addr.Addr().Is6() {
			set(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1)
			set(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
		}
		if err == nil && e.network == "tcp" {
			err = streamOptions(int(fd))
		}
	})
	return errors.Join(controlErr, err)
}

// streamOptions are what accepted sockets inherit. The first clients may be in
// the queue before the engine has the listener, and sockets inherit what it has
// at that moment.
func streamOptions(fd int) error {
	for _, o := range [...]struct{ level, option, value int }{
		{unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
		{unix.SOL_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.SOL_TCP, unix.TCP_KEEPIDLE, 60},
		{unix.SOL_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.SOL_TCP, unix.TCP_KEEPCNT, 6},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// bindError says who is in the way and what to do.
func bindError(e endpoint, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		if holder := portHolder(e); holder != "" {
			return fmt.Errorf("port in use by %s; stop it, or listen on another address", holder)
		}
		return fmt.Errorf("port in use; stop who has it, or listen on another address")
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("permission denied (port %d needs CAP_NET_BIND_SERVICE)", e.addr.Port())
	}
	return err
}

func (d *door) addr() net.Addr {
	if d.udp != nil {
		return d.udp.LocalAddr()
	}
	return d.tcp.Addr()
}

// close closes the socket; no client is taken from it any more.
func (d *door) close() {
	d.once.Do(func() {
		switch {
		case d.quic != nil:
			d.quic.Close()
		case d.datagrams != nil:
			d.datagrams.Close()
		case d.udp != nil:
			d.udp.Close()
		case d.accepting != nil:
			d.accepting.Close()
		default:
			d.tcp.Close()
		}
	})
}

// sortedJoin joins errors in the order of their texts, as maps give them in none.
func sortedJoin(errs []error) error {
	sort.Slice(errs, func(i, j int) bool { return errs[i].Error() < errs[j].Error() })
	return errors.Join(errs...)
}
