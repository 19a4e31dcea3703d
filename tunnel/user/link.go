package user

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

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
	TTL     int              // of the outer packets, 1 to 255
	Anycast bool             // Local is one of several relays': always set DF
	Check   *ingress.Checker // made for Local
}

// A Link is a Device at work for one IPv4 address.
type Link struct {
	dev     *Device
	sockets []*os.File
	hops    *hops
	rx      *receiver
	tx      *sender
}

// Open opens the sockets of a Link. They belong to the network namespace of
// the calling thread.
func Open(dev *Device, cfg Config) (*Link, error) {
	l := &Link{dev: dev}
	if err := l.open(cfg); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Link) open(cfg Config) error {
	var outlets [3]*outlet
	for i, open := range []func() (*os.File, error){
		func() (*os.File, error) { return openRaw(cfg.Local, cfg.TTL, false) },
		func() (*os.File, error) { return openRaw(cfg.Local, cfg.TTL, true) },
		openSender,
	} {
		socket, err := open()
		if err != nil {
			return err
		}
		l.sockets = append(l.sockets, socket)
		if outlets[i], err = newOutlet(socket, &l.dev.Count); err != nil {
			return err
		}
	}
	packet, err := openPacket(cfg.Local)
	if err != nil {
		return err
	}
	l.sockets = append(l.sockets, packet)
	if l.hops, err = newHops(); err != nil {
		return err
	}
	if l.rx, err = newReceiver(packet, l.dev.file, cfg.Check, &l.dev.Count); err != nil {
		return err
	}
	l.tx, err = newSender(l.dev.file, cfg, &l.dev.Count, outlets[0], outlets[1], outlets[2], l.hops)
	return err
}

// Serve moves packets until ctx ends, which is no error. It may be called once.
func (l *Link) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := l.dev.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	past := time.Unix(1, 0)
	stop := context.AfterFunc(ctx, func() {
		_ = l.dev.file.SetReadDeadline(past)
		for _, s := range l.sockets {
			_ = s.SetDeadline(past)
		}
	})
	defer stop()

	var errs [2]error
	var wg sync.WaitGroup
	for i, run := range []func() error{l.rx.run, l.tx.run} {
		wg.Go(func() {
			defer cancel() // one half alone is no tunnel
			if err := run(); !errors.Is(err, os.ErrDeadlineExceeded) {
				errs[i] = fmt.Errorf("userspace datapath: %w", err)
			}
		})
	}
	wg.Go(func() { l.hops.run(ctx) })
	wg.Wait()
	return errors.Join(errs[:]...)
}

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
	return errors.Join(errs...)
}
