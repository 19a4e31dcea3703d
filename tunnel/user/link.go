package user

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

// A Device is a TUN device of ours.
type Device struct {
	file  *os.File
	Count Counters
}

// OpenDevice creates the TUN device name, or attaches to a persistent one. It
// is not up and has no address.
func OpenDevice(name string) (*Device, error) {
	f, err := openTUN(name)
	if err != nil {
		return nil, err
	}
	return &Device{file: f}, nil
}

// Persist makes the device outlive this process, or not.
func (d *Device) Persist(on bool) error { return persistTUN(d.file, on) }

// Close lets go of the device, which vanishes unless it is persistent.
func (d *Device) Close() error { return d.file.Close() }

// A Config is what a Link needs to know.
type Config struct {
	Local   netip.Addr       // our IPv4 address
	Address netip.Addr       // our IPv6 address, from which errors come
	MTU     int              // of the tunnel interface
	Uplink  int              // the interface that sources are not looked up for; 0: none are, by any
	TTL     int              // of the outer packets, 1 to 255
	Anycast bool             // Local is one of several relays': always set DF
	Check   *ingress.Checker // made for Local
	From    Files            // of the process before; what Open takes is gone from there
}

// A Link is a Device at work for one IPv4 address.
type Link struct {
	dev     *Device
	sockets []*os.File
	named   map[string]*os.File // those that another process may go on with
	receive *os.File            // one of them
	hops    *hops
	reverse *reverse
	rx      *receiver
	tx      *sender
	reports *reporter
}

// Open opens the sockets of a Link. They belong to the network namespace of
// the calling thread.
func Open(dev *Device, cfg Config) (*Link, error) {
	l := &Link{dev: dev, named: map[string]*os.File{}}
	if err := l.open(cfg); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Link) open(cfg Config) error {
	if err := cfg.From.suit(cfg.Local, cfg.TTL); err != nil {
		return err
	}
	var outlets [3]*outlet
	for i, one := range []struct {
		name string
		open func() (*os.File, error)
	}{
		{fileRaw, func() (*os.File, error) { return openRaw(cfg.Local, cfg.TTL) }},
		{fileHeader, openHeader},
		{fileSender, openSender},
	} {
		socket, err := l.socket(cfg.From, one.name, one.open)
		if err != nil {
			return err
		}
		if outlets[i], err = newOutlet(socket, &l.dev.Count); err != nil {
			return err
		}
	}
	var err error
	l.receive, err = l.socket(cfg.From, filePacket, func() (*os.File, error) { return openPacket(cfg.Local) })
	if err != nil {
		return err
	}
	listen, err := l.socket(cfg.From, fileICMP, func() (*os.File, error) { return openICMP(cfg.Local) })
	if err != nil {
		return err
	}
	if l.hops, err = newHops(); err != nil {
		return err
	}
	tun, err := newTUNWriter(l.dev.file)
	if err != nil {
		return err
	}
	out := exit{small: outlets[0], large: outlets[1], packet: outlets[2], hops: l.hops, paths: new(paths)}
	if l.reverse, err = newReverse(); err != nil {
		return err
	}
	if l.rx, err = newReceiver(l.receive, tun, cfg, l.reverse, &l.dev.Count); err != nil {
		return err
	}
	if l.reports, err = newReporter(listen, func(b []byte) { tun.message(b, &l.dev.Count) }, cfg, out.paths, &l.dev.Count); err != nil {
		return err
	}
	l.tx, err = newSender(l.dev.file, tun, cfg, &l.dev.Count, out)
	return err
}

// socket takes a socket into those that are to be closed: the one of the process
// before, or a new one.
func (l *Link) socket(from Files, name string, open func() (*os.File, error)) (s *os.File, err error) {
	if s = from.take(name); s == nil {
		if s, err = open(); err != nil {
			return nil, err
		}
	}
	l.sockets = append(l.sockets, s)
	l.named[name] = s
	return s, nil
}

// Serve moves packets until ctx ends, which is no error. It may be called once.
func (l *Link) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := l.dev.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var errs [3]error
	var wg sync.WaitGroup
	wg.Go(func() { // waited for: a deadline set late would end the next Link
		<-ctx.Done()
		_ = l.dev.file.SetReadDeadline(past)
		for _, s := range l.sockets {
			_ = s.SetDeadline(past)
		}
	})
	for i, run := range [...]func() error{l.rx.run, l.tx.run, l.reports.run} {
		wg.Go(func() {
			defer cancel() // a part alone is no tunnel
			if err := run(); !errors.Is(err, os.ErrDeadlineExceeded) {
				errs[i] = fmt.Errorf("userspace datapath: %w", err)
			}
		})
	}
	wg.Go(func() { l.hops.run(ctx) })
	wg.Wait()
	return errors.Join(errs[:]...)
}

// Overflow adds what the kernel could not queue for the receiver since the last
// call to the counter of that fault.
func (l *Link) Overflow() {
	conn, err := l.receive.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			l.dev.Count.Faults[Overflow].Add(uint64(st.Drops))
		}
	})
}

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// Close closes the sockets. Call it after Serve has returned.
func (l *Link) Close() error {
	var errs []error
	for _, s := range l.sockets {
		errs = append(errs, s.Close())
	}
	l.sockets = nil
	if l.hops != nil {
		l.hops.close()
		l.hops = nil
	}
	if l.reverse != nil {
		l.reverse.close()
		l.reverse = nil
	}
	return errors.Join(errs...)
}
