package user

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Reports relays ICMPv4 errors for a tunnel whose packets the kernel moves:
// Linux' sit does not tell the inner sender that an end is unreachable.
type Reports struct {
	Count   Counters
	sockets []*os.File
	r       *reporter
}

// OpenReports opens the sockets in the network namespace of the calling thread.
func OpenReports(cfg Config) (*Reports, error) {
	k := &Reports{}
	if err := k.open(cfg); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Reports) open(cfg Config) error {
	listen, err := openICMP(cfg.Local)
	if err != nil {
		return err
	}
	k.sockets = append(k.sockets, listen)
	// IPPROTO_RAW: the packet is sent with the header that it has.
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("raw IPv6 socket: %w", err)
	}
	send := os.NewFile(uintptr(fd), "raw6")
	k.sockets = append(k.sockets, send)
	conn, err := send.SyscallConn()
	if err != nil {
		return err
	}
	deliver := func(buf []byte) {
		pkt := buf[vnetLen:]
		dst, ok := netip.AddrFromSlice(pkt[24:40])
		if !ok {
			return
		}
		_ = conn.Control(func(fd uintptr) {
			if unix.Sendto(int(fd), pkt, 0, &unix.SockaddrInet6{Addr: dst.As16()}) != nil {
				k.Count.Faults[SendRefused].Add(1)
			}
		})
	}
	k.r, err = newReporter(listen, deliver, cfg, new(paths), &k.Count)
	return err
}

// Serve relays until ctx ends, which is no error. It may be called once.
func (k *Reports) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = k.sockets[0].SetReadDeadline(past) })
	defer stop()
	if err := k.r.run(); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("relay of ICMP errors: %w", err)
	}
	return nil
}

// Close closes the sockets. Call it after Serve has returned.
func (k *Reports) Close() error {
	var errs []error
	for _, s := range k.sockets {
		errs = append(errs, s.Close())
	}
	k.sockets = nil
	return errors.Join(errs...)
}
