package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"genkan/tunnel/filter"
)

const (
	// settle is how long a burst of changes may go on before we look.
	settle = 100 * time.Millisecond
	// patrol is how often we look though nothing was heard: netlink drops
	// messages when its queue is full.
	patrol = 2 * time.Second
)

// Serve moves packets and watches over what Up made until ctx ends, which is
// no error. It may be called again after that.
//
// What somebody else deletes is made again; when our IPv4 address changes, the
// prefix, the address, the routes and the filter change together, and Changes
// says so.
func (t *Tunnel) Serve(ctx context.Context) error {
	events, stop, err := t.watch()
	if err != nil {
		return err
	}
	defer stop()
	t.mu.Lock()
	_, waits := t.dp.(*userspace) // what came meanwhile is in its sockets
	again := t.served && !waits
	t.served = true
	t.mu.Unlock()
	if again { // another process may have been at work
		if err := t.rebuild(ctx); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		err := t.serveUntilBroken(ctx, events)
		var w *wish
		if errors.As(err, &w) {
			if err = t.reconfigure(ctx, w); err == nil {
				continue
			}
		}
		if ctx.Err() != nil {
			return err
		}
		t.logger().Warn("tunnel: to be made again", "cause", err)
		t.remake(ctx)
	}
	return nil
}

// remake tries until the tunnel stands again, or ctx ends. Another
// configuration may be what it takes.
func (t *Tunnel) remake(ctx context.Context) {
	said := ""
	for wait := settle; ctx.Err() == nil; wait = min(2*wait, patrol) {
		err := t.rebuild(ctx)
		if err == nil {
			return
		}
		if err.Error() != said { // once, not every two seconds of a long night
			said = err.Error()
			t.logger().Error("tunnel: could not be made again, tries on", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case w := <-t.wishes:
			if t.reconfigure(ctx, w) == nil {
				return
			}
		}
	}
}

// logger is the log of the configuration in use, with the interface's name.
func (t *Tunnel) logger() *slog.Logger {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cfg.Log.With("interface", t.cfg.Interface)
}

// serveUntilBroken runs the datapath until ctx ends, it fails, or what stands
// is not what should. The error says which.
func (t *Tunnel) serveUntilBroken(ctx context.Context, events <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	t.mu.Lock()
	dp := t.dp
	t.mu.Unlock()
	go func() { served <- dp.serve(ctx) }()
	watches := []func(context.Context) error{t.watchRelay, t.watchLease}
	trouble := make(chan error, len(watches))
	var watchers sync.WaitGroup
	for _, watch := range watches {
		watchers.Go(func() {
			if err := watch(ctx); err != nil {
				trouble <- err
			}
		})
	}
	defer watchers.Wait()
	defer cancel()
	tick := time.NewTicker(patrol)
	defer tick.Stop()
	for {
		select {
		case err := <-served:
			return err
		case <-events:
			pause(ctx, settle)
		case <-tick.C:
		case err := <-trouble:
			cancel()
			return errors.Join(err, <-served)
		case w := <-t.wishes:
			cancel()
			<-served
			return w
		}
		if err := t.broken(); err != nil && ctx.Err() == nil {
			cancel()
			return errors.Join(err, <-served)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// broken repairs what can be repaired while the datapath runs, and says what
// cannot: our IPv4 address is another one, the interface is gone.
func (t *Tunnel) broken() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ns.do(func() error {
		if now, err := t.site.cfg.find(); err == nil && !now.same(t.site.place) {
			was := t.site.place
			if now.Local == was.Local && now.Uplink == was.Uplink {
				return fmt.Errorf("the uplink %s is another one, or has another MTU (%d, was %d) or network", now.Uplink, now.UplinkMTU, was.UplinkMTU)
			}
			return fmt.Errorf("IPv4 address %s by %s, was %s by %s", now.Local, now.Uplink, was.Local, was.Uplink)
		} // else no IPv4 for now: what stands may stand
		for i := range t.state.Steps {
			st := &t.state.Steps[i]
			if st.Op == opLink && !t.state.hasLink(st.Link) {
				return fmt.Errorf("gone: %s", st)
			}
			if st.stands() || t.waived(st) {
				continue
			}
			if err := t.do(t.site, st); err != nil {
				return err
			}
			t.cfg.Log.Warn("tunnel: was gone, made again", "what", st.String())
		}
		return t.followFirewall()
	})
}

// followFirewall makes the filter again where it does not go with the rules of
// others any more.
func (t *Tunnel) followFirewall() error {
	if t.filter == nil || !t.filter.Outdated() {
		return nil
	}
	t.keepCounters()
	at := slices.IndexFunc(t.state.Steps, func(s step) bool { return s.Op == opFilter })
	if at < 0 {
		return nil
	}
	t.cfg.Log.Info("tunnel: the rules of this host have changed, the filter follows", "interface", t.cfg.Interface)
	return t.do(t.site, &t.state.Steps[at])
}

// keepCounters adds what the filter's tables have counted to the past: they go
// with the tables.
func (t *Tunnel) keepCounters() {
	if counts, err := filter.Counters(t.cfg.Interface); err == nil {
		for reason, n := range counts {
			t.past[reason] += n
		}
	}
}

// waived reports whether the step is one that may fail: a filter that nothing
// asked for.
func (t *Tunnel) waived(s *step) bool { return s.Op == opFilter && t.filter == nil }

func (p place) same(q place) bool {
	return p.Local == q.Local && p.Uplink == q.Uplink && p.Index == q.Index && p.UplinkMTU == q.UplinkMTU && slices.Equal(p.Broadcasts, q.Broadcasts)
}

// rebuild makes what is missing, or the tunnel of another address.
func (t *Tunnel) rebuild(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ns.do(func() error {
		t.keepCounters()
		was, before := t.site.place, t.site.cfg
		if t.dp != nil && !t.state.hasLink(t.cfg.Interface) {
			// What is left of it is of no use any more.
			_ = t.dp.close(false)
			t.keep(t.dp)
			t.dp = nil
			t.remade++
			// Another one of its name is somebody else's: it is no step of ours.
			if err := t.state.dropForeignLink(t.cfg.Interface); err != nil {
				return err
			}
		}
		s, err := t.look(ctx)
		if err == nil {
			err = t.build(s)
		}
		if err != nil {
			return err
		}
		p := t.site.place
		t.cfg.Log.Info("tunnel: made again", "interface", t.cfg.Interface, "datapath", t.name,
			"local", p.Local, "address", p.Address, "delegated", p.Delegated)
		if p.Address != was.Address || p.Local != was.Local || !t.site.cfg.sameDomain(before) {
			t.announce(Change{Local: p.Local, Delegated: p.Delegated, Address: p.Address})
		}
		return nil
	})
}

// keep adds what a datapath has counted to the past.
func (t *Tunnel) keep(dp datapath) {
	st := Status{Drops: map[string]uint64{}}
	dp.count(&st)
	t.received.add(st.Received)
	t.sent.add(st.Sent)
	for reason, n := range st.Drops {
		t.past[reason] += n
	}
}

func (c *Count) add(d Count) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
}

// announce puts the newest change into the channel, in place of one that
// nobody has read.
func (t *Tunnel) announce(c Change) {
	for {
		select {
		case t.changes <- c:
			return
		default:
		}
		select {
		case <-t.changes:
		default:
		}
	}
}

// stands reports whether what the step made is there; what cannot be seen, for
// a dump that was interrupted, is taken to be. The interface is asked for by
// state.hasLink. Sysctls are not looked at: the operator may have his reasons.
func (s *step) stands() bool {
	switch s.Op {
	case opUp:
		link, err := netlink.LinkByName(s.Link)
		return err != nil || link.Attrs().RawFlags&unix.IFF_UP != 0 && fmt.Sprintf("mtu %d", link.Attrs().MTU) == s.Params
	case opAddress:
		return s.hasAddress()
	case opRoute:
		r, err := s.route()
		if err != nil {
			return true
		}
		ours, err := s.isOurs(r)
		return ours || err != nil
	case opFilter:
		return filter.Stands(s.Link)
	}
	return true
}

func (s *step) hasAddress() bool {
	link, err := netlink.LinkByName(s.Link)
	if err != nil {
		return true
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	want := ipNet(s.Dst).String()
	return err != nil || slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IPNet.String() == want })
}

// watch pokes the channel at each change of links, addresses and routes. It
// holds one: more of them say no more.
func (t *Tunnel) watch() (<-chan struct{}, func(), error) {
	var socket *nl.NetlinkSocket
	err := t.ns.do(func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
			unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE)
		return err
	})
	if err != nil {
		return nil, nil, explain("watch the network", capAdmin, err)
	}
	events := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_, _, err := socket.Receive()
			select {
			case events <- struct{}{}:
			default:
			}
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
				return // closed; without netlink the patrol goes on
			}
		}
	}()
	return events, func() {
		socket.Close()
		<-ended
	}, nil
}
