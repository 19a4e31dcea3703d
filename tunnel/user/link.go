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
	fd    int // -1: closed
	Count Counters
}

// OpenDevice creates the TUN device name, or attaches to a persistent one. It
// is not up and has no address.
func OpenDevice(name string) (*Device, error) {
	fd, err := openTUN(name)
	if err != nil {
		return nil, err
	}
	return &Device{fd: fd}, nil
}

// Persist makes the device outlive this process, or not.
func (d *Device) Persist(on bool) error { return persistTUN(d.fd, on) }

// Close lets go of the device, which vanishes unless it is persistent. Call it
// after the Close of its Link.
func (d *Device) Close() error {
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	return os.NewSyscallError("close tun", unix.Close(fd))
}

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
	stop    *alarm
	sockets map[string]int // by their names in Files
	receive int            // one of them
	listen  *os.File
	hops    *hops
	reverse *reverse
	rx      *receiver
	tx      *sender
	reports *reporter
}

// Open opens the sockets of a Link. They belong to the network namespace of
// the calling thread.
func Open(dev *Device, cfg Config) (*Link, error) {
	l := &Link{dev: dev, sockets: make(map[string]int), receive: -1}
	if err := l.open(cfg); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Link) open(cfg Config) error {
	if err := cfg.From.suit(cfg.Local, cfg.TTL); err != nil {
		return err
	}
	var err error
	if l.stop, err = newAlarm(); err != nil {
		return err
	}
	var outlets [3]*outlet
	for i, one := range []struct {
		name string
		open func() (int, error)
	}{
		{fileRaw, func() (int, error) { return openRaw(cfg.Local, cfg.TTL) }},
		{fileHeader, openHeader},
		{fileSender, openSender},
	} {
		socket, err := l.socket(cfg.From, one.name, one.open)
		if err != nil {
			return err
		}
		outlets[i] = newOutlet(socket, l.stop, &l.dev.Count)
	}
	if l.receive, err = l.socket(cfg.From, filePacket, func() (int, error) { return openPacket(cfg.Local) }); err != nil {
		return err
	}
	if l.listen = cfg.From.take(fileICMP); l.listen == nil {
		if l.listen, err = openICMP(cfg.Local); err != nil {
			return err
		}
	}
	if l.hops, err = newHops(); err != nil {
		return err
	}
	tun := tunFile{l.dev.fd}
	out := exit{small: outlets[0], large: outlets[1], packet: outlets[2], hops: l.hops, paths: new(paths)}
	if l.reverse, err = newReverse(); err != nil {
		return err
	}
	l.rx = newReceiver(l.receive, l.stop, tun, cfg, l.reverse, &l.dev.Count)
	if l.reports, err = newReporter(l.listen, func(b []byte) { tun.message(b, &l.dev.Count) }, cfg, out.paths, &l.dev.Count); err != nil {
		return err
	}
	l.tx = newSender(tun, l.stop, cfg, &l.dev.Count, out)
	return nil
}

// socket takes a socket into those that are to be closed: the one of the process
// before, or a new one.
func (l *Link) socket(from Files, name string, open func() (int, error)) (s int, err error) {
	if f := from.take(name); f != nil {
		s, err = detach(f)
	} else {
		s, err = open()
	}
	if err == nil {
		l.sockets[name] = s
	}
	return s, err
}

// Serve moves packets until ctx ends, which is no error. It may be called again
// after that.
func (l *Link) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.stop.reset()
	if err := l.listen.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var errs [3]error
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		l.stop.ring()
		_ = l.listen.SetReadDeadline(past)
	})
	for i, run := range [...]func() error{l.rx.run, l.tx.run, l.reports.run} {
		wg.Go(func() {
			defer cancel() // a part alone is no tunnel
			if err := run(); !errors.Is(err, errStopped) && !errors.Is(err, os.ErrDeadlineExceeded) {
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
	if st, err := unix.GetsockoptTpacketStats(l.receive, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		l.dev.Count.Faults[Overflow].Add(uint64(st.Drops))
	}
}

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// Close closes the sockets. Call it after Serve has returned.
func (l *Link) Close() error {
	var errs []error
	for _, s := range l.sockets {
		errs = append(errs, os.NewSyscallError("close", unix.Close(s)))
	}
	l.sockets, l.receive = nil, -1
	if l.listen != nil {
		errs = append(errs, l.listen.Close())
		l.listen = nil
	}
	if l.stop != nil {
		errs = append(errs, l.stop.close())
		l.stop = nil
	}
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
