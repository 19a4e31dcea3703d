package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
	"genkan/tunnel/user"
)

// A datapath moves the packets of one tunnel interface. Its methods are called
// by one goroutine at a time, but for count.
type datapath interface {
	// open makes the interface, down, or finds the one that stands, and
	// prepares to work at s. Later calls move to another site.
	open(s site) error
	// serve works until ctx ends, which is no error.
	serve(ctx context.Context) error
	// count adds what the datapath has counted to st.
	count(st *Status)
	// close lets go of everything; leave keeps the interface standing.
	close(leave bool) error
}

// A site is all that a datapath needs to know.
type site struct {
	cfg   Config
	place place
	mtu   int
	check *ingress.Checker
}

// newDatapath returns a datapath by its name.
func newDatapath(name string) datapath {
	switch name {
	case DatapathKernel:
		return &kernel{}
	case DatapathEBPF:
		return &ebpf{}
	}
	return &userspace{}
}

// linkParams describes the interface that a datapath makes, in ip(8)'s words,
// with all that it depends on.
func linkParams(name string, s site) string {
	switch name {
	case DatapathUserspace:
		return "type tun mode tun vnet_hdr"
	case DatapathEBPF:
		return "type tun mode tun vnet_hdr" + pinned(s.pinDir())
	}
	if s.cfg.Kind == Kind6in4 {
		return fmt.Sprintf("type sit local %s remote %s ttl %d mtu %d", s.place.Local, s.cfg.Remote, s.cfg.TTL, s.mtu)
	}
	params := fmt.Sprintf("type sit local %s ttl %d 6rd-prefix %s", s.place.Local, s.cfg.TTL, s.cfg.Prefix)
	if s.cfg.IPv4MaskLen > 0 {
		params += fmt.Sprintf(" 6rd-relay_prefix %s", s.cfg.common(s.place.Local).Masked())
	}
	return params + fmt.Sprintf(" mtu %d", s.mtu)
}

// defaultVia is the gateway of the default route. The kernel's sit takes the
// relay from there, written as an IPv4-compatible address; the others know it.
func defaultVia(name string, s site) netip.Addr {
	if name != DatapathKernel || s.cfg.Kind == Kind6in4 {
		return netip.Addr{}
	}
	var a [16]byte
	v4 := s.place.Gateway.As4()
	copy(a[12:], v4[:])
	return netip.AddrFrom16(a)
}

// userspace is the TUN device and its sockets.
type userspace struct {
	dev  *user.Device
	link *user.Link
}

func (u *userspace) open(s site) error {
	if u.link != nil {
		if err := u.link.Close(); err != nil {
			return err
		}
		u.link = nil
	}
	name := s.cfg.Interface
	if u.dev == nil {
		dev, err := user.OpenDeviceFrom(name, s.cfg.Inherited)
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("tunnel: create %q: %w; load the module tun, or give the container the device /dev/net/tun", name, err)
		}
		if err != nil {
			return explain(fmt.Sprintf("create %q", name), capAdmin, err)
		}
		u.dev = dev
	}
	link, err := user.Open(u.dev, user.Config{
		Uplink: s.cfg.strictUplink(s.place),
		Local:  s.place.Local, Address: s.place.Address, MTU: s.mtu, TTL: s.cfg.TTL, Anycast: s.cfg.Anycast, Check: s.check, From: s.cfg.Inherited,
	})
	u.link = link
	return explain(fmt.Sprintf("tunnel sockets for %q", name), capRaw, err)
}

func (u *userspace) serve(ctx context.Context) error { return u.link.Serve(ctx) }

func (u *userspace) count(st *Status) {
	st.Checks = []string{checksUserspace}
	if u.dev == nil {
		return
	}
	if u.link != nil {
		u.link.Overflow()
	}
	c := &u.dev.Count
	st.Received.add(Count{Packets: c.RxPackets.Load(), Bytes: c.RxBytes.Load()})
	st.Sent.add(Count{Packets: c.TxPackets.Load(), Bytes: c.TxBytes.Load()})
	for reason, n := range c.Drops() {
		st.Drops[reason] += n
	}
}

// close keeps the device for the next process where leave is set: without a
// reader it drops what is sent, but address and routes stay.
func (u *userspace) close(leave bool) error {
	var errs []error
	if u.link != nil {
		errs = append(errs, u.link.Close())
	}
	if u.dev != nil {
		if err := u.dev.Persist(leave); !errors.Is(err, unix.EBADFD) { // EBADFD: deleted by others
			errs = append(errs, err)
		}
		errs = append(errs, u.dev.Close())
	}
	u.link, u.dev = nil, nil
	return errors.Join(errs...)
}
