package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel/bpf"
	"genkan/tunnel/ingress"
)

const (
	// bpfDir is where the system keeps its bpffs.
	bpfDir = "/sys/fs/bpf"
	// ethernetHeader is the only link header that the programs can write.
	ethernetHeader = 14
	// followEvery is how often the IPv4 routes are looked at.
	followEvery = 2 * time.Second
)

// ebpf is the userspace datapath with two programs before it, which take most
// packets off its hands.
type ebpf struct {
	userspace
	progs *bpf.Datapath
	cfg   bpf.Config // the programs' own
	by    string     // the uplink's name
	ipv4  *netlink.Handle
	last  bpf.Counters // of programs that are gone
}

func (e *ebpf) open(s site) error {
	uplink, err := s.uplink()
	if err != nil {
		return err
	}
	if err := e.userspace.open(s); err != nil {
		return err
	}
	tun, err := netlink.LinkByName(s.cfg.Interface)
	if err != nil {
		return explain(fmt.Sprintf("look for %q", s.cfg.Interface), capAdmin, err)
	}
	if e.ipv4 == nil {
		if e.ipv4, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return explain("read IPv4 routes", capAdmin, err)
		}
	}
	cfg := bpf.Config{
		Check: s.check, TTL: s.cfg.TTL, Anycast: s.cfg.Anycast, MTU: s.mtu,
		TUN: tun.Attrs().Index, Uplink: uplink.Attrs().Index, LinkHeader: ethernetHeader,
		PinDir: s.pinDir(),
	}
	if cfg.Routes, err = e.routes(cfg.Uplink); err != nil {
		return err
	}
	if cfg.PinDir != "" { // the device has to outlive a killed process too
		if err := e.dev.Persist(true); err != nil {
			return explain(fmt.Sprintf("keep %q", s.cfg.Interface), capAdmin, err)
		}
	}
	if e.progs != nil {
		err = e.progs.Update(cfg)
	} else {
		e.progs, err = bpf.Open(cfg)
	}
	if err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	e.cfg, e.by = cfg, uplink.Attrs().Name
	return nil
}

// routes are the IPv4 routes as far as they say what leaves by the uplink.
func (e *ebpf) routes(uplink int) ([]bpf.Route, error) {
	list, err := e.ipv4.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, explain("read IPv4 routes", capAdmin, err)
	}
	routes := []bpf.Route{}
	for _, r := range list {
		to := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.Dst != nil {
			bits, _ := r.Dst.Mask.Size()
			if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				to = netip.PrefixFrom(a.Unmap(), bits)
			}
		}
		by := r.Type == unix.RTN_UNICAST
		if len(r.MultiPath) == 0 {
			by = by && r.LinkIndex == uplink
		}
		for _, hop := range r.MultiPath {
			by = by && hop.LinkIndex == uplink
		}
		routes = append(routes, bpf.Route{Prefix: to, Uplink: by})
	}
	if routes, err = bpf.Compact(routes); err != nil {
		return nil, fmt.Errorf("tunnel: the eBPF datapath: %w", err)
	}
	return append([]bpf.Route{}, routes...), nil // never nil, which means all
}

// serve keeps the programs up with the IPv4 routes meanwhile.
func (e *ebpf) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := make(chan error, 1)
	go func() {
		defer cancel()
		followed <- e.follow(ctx)
	}()
	err := e.userspace.serve(ctx)
	cancel()
	return errors.Join(err, <-followed)
}

// follow exchanges the programs when the IPv4 routes change, or when the uplink
// is another interface of the same name.
func (e *ebpf) follow(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		uplink, err := e.ipv4.LinkByName(e.by)
		if err != nil {
			continue // gone: the tunnel looks for another one, or waits for this
		}
		cfg := e.cfg
		cfg.Uplink = uplink.Attrs().Index
		cfg.Routes, err = e.routes(cfg.Uplink)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return err
		}
		if cfg.Uplink == e.cfg.Uplink && slices.Equal(cfg.Routes, e.cfg.Routes) {
			continue
		}
		if err := e.progs.Update(cfg); err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
		e.cfg = cfg
	}
}

// uplink is the interface that the programs work on.
func (s site) uplink() (netlink.Link, error) {
	link, err := s.etherUplink()
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	// What does not fit the uplink would vanish: the programs cannot fragment.
	a := link.Attrs()
	if s.mtu+outerHeader > a.MTU {
		return nil, fmt.Errorf("tunnel: the eBPF datapath with mtu %d needs an uplink of %d; %q has %d", s.mtu, s.mtu+outerHeader, a.Name, a.MTU)
	}
	return link, nil
}

const (
	outerHeader = 20

	// programs stands in a link's Params, and pinnedIn behind it before the
	// directory where they are pinned.
	programs = ", eBPF programs"
	pinnedIn = " in "
)

// pinned is what Params say of programs in dir, "" for nowhere.
func pinned(dir string) string {
	if dir == "" {
		return programs
	}
	return programs + pinnedIn + dir
}

// pinDir is where the programs are pinned, so that they outlive this process;
// "" where there is no bpffs, or it is not for us. The network namespace is in its name, since a
// bpffs may be seen by several.
func (s site) pinDir() string {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return ""
	}
	for _, dir := range []string{filepath.Join(s.cfg.StateDir, "bpf"), bpfDir} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.BPF_FS_MAGIC && unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil {
			return filepath.Join(dir, fmt.Sprintf("genkan-%d-%s", ns.Ino, s.cfg.Interface))
		}
	}
	return ""
}

func (e *ebpf) count(st *Status) {
	e.userspace.count(st)
	st.Checks = []string{checksEBPF, checksUserspace}
	c := e.last
	if e.progs != nil {
		now, err := e.progs.Counters()
		if err != nil {
			return
		}
		c = now
	}
	st.Received.add(Count{Packets: c.RxPackets, Bytes: c.RxBytes})
	st.Sent.add(Count{Packets: c.TxPackets, Bytes: c.TxBytes})
	for r, n := range c.Reasons {
		if n > 0 {
			st.Drops[ingress.Reason(r).String()] += n
		}
	}
	if c.Faults > 0 {
		st.Drops["bpf-fault"] += c.Faults
	}
}

// close lets pinned programs go on where leave is set.
func (e *ebpf) close(leave bool) error {
	var errs []error
	if e.progs != nil {
		if c, err := e.progs.Counters(); err == nil {
			e.last = c
		}
		errs = append(errs, e.progs.Close(leave))
		e.progs = nil
	}
	if e.ipv4 != nil {
		e.ipv4.Close()
		e.ipv4 = nil
	}
	return errors.Join(append(errs, e.userspace.close(leave))...)
}
