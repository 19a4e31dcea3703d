package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"genkan/tunnel/filter"
)

// A Tunnel is one that Up brought up. Its methods may be called from any
// goroutine. There is no useful zero Tunnel.
type Tunnel struct {
	cfg     Config
	ns      *namespace
	file    *stateFile
	changes chan Change
	wishes  chan *wish // taken by Serve

	mu       sync.Mutex // guards what follows, and cfg once Serve runs
	from     string     // who gave the 6rd domain by DHCP; "" where nobody had to
	site     site
	name     string // of the datapath in use
	dp       datapath
	state    *state
	filter   *filter.Filter
	ports    []Port
	fallback []string
	metric   int // of the default route that was made, also while its interface is gone; 0: none was
	remade   uint64
	closed   bool
	served   bool
	// What datapaths and filters that are gone had counted.
	past           map[string]uint64
	received, sent Count
}

// Up brings the tunnel up: interface, address, routes, filter. ctx bounds the
// bring-up only. On an error everything that was made is taken back.
//
// What an earlier process left standing, killed or by Leave, is adopted: what
// the new configuration still wants stays, the rest is taken back first.
func Up(ctx context.Context, cfg Config) (*Tunnel, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Tunnel{cfg: cfg.withDefaults(), changes: make(chan Change, 1), wishes: make(chan *wish), past: map[string]uint64{}, ports: cfg.Ports}
	var err error
	if t.ns, err = currentNamespace(); err != nil {
		return nil, err
	}
	err = t.ns.do(func() error { return t.up(ctx) })
	if restErr := t.cfg.Inherited.Close(); err == nil && restErr != nil {
		err = errors.Join(restErr, t.Close())
	}
	if err != nil {
		return nil, errors.Join(err, t.ns.close())
	}
	return t, nil
}

func (t *Tunnel) up(ctx context.Context) error {
	file, left, err := openState(t.cfg.StateDir, t.cfg.Interface, t.cfg.Inherited[fileLock])
	if err != nil {
		return err
	}
	t.file = file
	if file.lock == t.cfg.Inherited[fileLock] {
		delete(t.cfg.Inherited, fileLock)
	}
	if t.state, err = t.standing(left); err != nil {
		return errors.Join(err, file.unlock())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.look(ctx)
	if err != nil {
		if left != nil { // nothing is changed yet: what forwards goes on
			return errors.Join(err, file.unlock())
		}
		return errors.Join(err, file.remove())
	}
	if err := t.build(s); err != nil {
		if undo := t.takeBack(nil); undo != nil {
			return errors.Join(err, undo, file.unlock())
		}
		return errors.Join(err, file.remove())
	}
	t.cfg.Log.Info("tunnel: up", "interface", t.cfg.Interface, "datapath", t.name,
		"local", t.site.place.Local, "address", t.site.place.Address, "delegated", t.site.place.Delegated, "mtu", t.site.mtu)
	return nil
}

// standing is the state to begin with: nothing, or what an earlier process left
// in this boot and namespace.
func (t *Tunnel) standing(left *state) (*state, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	s := &state{Version: stateVersion, Boot: boot, Namespace: t.ns.inode, Pid: os.Getpid(), Since: time.Now()}
	switch {
	case left == nil:
	case left.Boot != boot || left.Namespace != t.ns.inode:
		t.cfg.Log.Info("tunnel: state of another boot or namespace forgotten", "interface", t.cfg.Interface)
	default:
		t.cfg.Log.Info("tunnel: adopts what a former process left", "interface", t.cfg.Interface, "pid", left.Pid, "steps", len(left.Steps))
		s.Steps, s.Index = left.Steps, left.Index
		err = s.dropForeignLink(t.cfg.Interface)
		if slices.ContainsFunc(s.Steps, func(st step) bool { return st.Op == opLink }) {
			s.Datapath = left.Datapath
		}
	}
	return s, err
}

// dropForeignLink forgets the interface where it is gone, or another of its
// name has come since: that one is not ours to take back.
func (s *state) dropForeignLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil && s.ownsLink(link) {
		return nil
	}
	s.Steps = slices.DeleteFunc(s.Steps, func(st step) bool {
		if st.Op == opLink {
			err = st.removePrograms()
		}
		return st.Op == opLink || st.Op == opUp || st.Op == opAddress || st.Op == opRoute && !st.Reject
	})
	if isGone(err) {
		return nil
	}
	return err
}

// build makes the tunnel for s, out of what stands. Called with mu held.
func (t *Tunnel) build(s site) error {
	all := t.candidates()
	for i, name := range all {
		steps, err := s.steps(name, cmp.Or(t.state.defaultMetric(), t.metric))
		if err != nil {
			return err
		}
		if t.dp != nil && t.name != name { // another configuration: the next one takes its place
			t.keep(t.dp)
			if err := t.dp.close(false); err != nil {
				return err
			}
			t.dp = nil
		}
		if t.dp == nil {
			t.dp, t.name = newDatapath(name), name
		}
		err = t.make(s, steps)
		t.fallback = slices.DeleteFunc(t.fallback, func(why string) bool { return strings.HasPrefix(why, name+": ") })
		if err == nil {
			t.site, t.metric = s, t.state.defaultMetric()
			return nil
		}
		err = errors.Join(err, t.dp.close(false))
		t.dp = nil
		if i == len(all)-1 {
			return err
		}
		reason := name + ": " + strings.TrimPrefix(err.Error(), "tunnel: ")
		t.fallback = append(t.fallback, reason)
		t.cfg.Log.Info("tunnel: datapath passed over", "datapath", name, "error", err)
	}
	return errors.New("tunnel: no datapath")
}

// candidates are the datapaths to try, best first. One that works is not
// changed for another while it does.
func (t *Tunnel) candidates() []string {
	if t.cfg.Datapath != DatapathAuto {
		return []string{t.cfg.Datapath}
	}
	all := []string{DatapathKernel, DatapathEBPF, DatapathUserspace}
	works := t.name
	if t.site.check == nil {
		works = t.state.Datapath // of what is adopted
	}
	if works == "" {
		return all
	}
	return append([]string{works}, slices.DeleteFunc(all, func(n string) bool { return n == works })...)
}

// survey looks where the tunnel stands and what it has to be.
func (c Config) survey(ctx context.Context) (site, error) {
	p, err := c.find()
	if err != nil {
		return site{}, err
	}
	if err = c.refuseForeignSit(p.Local); err != nil {
		return site{}, err
	}
	if err = c.chooseRelay(ctx, &p); err != nil {
		return site{}, err
	}
	s := site{cfg: c, place: p, mtu: c.MTU}
	if c.MTU == MTUAuto {
		if s.mtu, err = c.autoMTU(ctx, p); err != nil {
			return site{}, err
		}
	}
	s.check, err = c.checker(p, s.mtu)
	return s, err
}

// make takes back what stands and is not wanted, then makes the steps.
func (t *Tunnel) make(s site, steps []step) error {
	if err := t.takeBack(steps); err != nil {
		return err
	}
	if !slices.ContainsFunc(t.state.Steps, func(have step) bool { return have.Op == opLink }) {
		if err := t.cfg.replaceForeignLink(); err != nil {
			return err
		}
	}
	t.state.Datapath = t.name
	for i := range steps {
		at := slices.IndexFunc(t.state.Steps, steps[i].same)
		if at < 0 {
			t.state.Steps = append(t.state.Steps, steps[i])
			at = len(t.state.Steps) - 1
		}
		if err := t.file.save(t.state); err != nil {
			return err
		}
		if err := t.do(s, &t.state.Steps[at]); err != nil {
			return err
		}
	}
	slices.SortStableFunc(t.state.Steps, func(a, b step) int {
		return slices.IndexFunc(steps, a.same) - slices.IndexFunc(steps, b.same)
	})
	return t.file.save(t.state)
}

// do makes one step.
func (t *Tunnel) do(s site, st *step) error {
	switch st.Op {
	case opLink:
		if err := t.dp.open(s); err != nil {
			return err
		}
		link, err := netlink.LinkByName(st.Link)
		if err == nil {
			t.state.Index = link.Attrs().Index
		}
		return err
	case opFilter:
		f, err := filter.Apply(s.filterConfig(t.name, t.ports))
		if err != nil && t.cfg.Expose == ExposeAll && t.name != DatapathKernel {
			t.cfg.Log.Warn("tunnel: no nftables: sources of our 6rd domain are not refused on other interfaces", "error", err)
			return nil
		}
		if err != nil {
			return explain(fmt.Sprintf("filter for %q", st.Link), capAdmin, err)
		}
		t.filter = f
		if t.cfg.Expose == ExposeListeners && !f.Stateful() {
			t.cfg.Log.Warn("tunnel: no conntrack (load the modules nf_conntrack and nft_ct): what this host asks by UDP gets no answer through the tunnel",
				"interface", t.cfg.Interface)
		}
		return nil
	}
	return st.do()
}

// takeBack undoes, in reverse, the steps that stand and are not in wanted.
func (t *Tunnel) takeBack(wanted []step) error {
	var errs []error
	for i := len(t.state.Steps) - 1; i >= 0; i-- {
		st := t.state.Steps[i]
		if slices.ContainsFunc(wanted, st.same) {
			continue
		}
		if err := st.undo(); err != nil {
			errs = append(errs, err)
			continue // stays in the state: the next Up or down tries again
		}
		t.state.Steps = slices.Delete(t.state.Steps, i, i+1)
	}
	if len(errs) > 0 {
		errs = append(errs, t.file.save(t.state))
	}
	return errors.Join(errs...)
}

// Address returns our address on the tunnel.
func (t *Tunnel) Address() netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.site.place.Address
}

// Delegated returns our delegated prefix, for 6in4 that of the link.
func (t *Tunnel) Delegated() netip.Prefix {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.site.place.Delegated
}

// Interface returns the interface's name.
func (t *Tunnel) Interface() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cfg.Interface
}

// Datapath returns the datapath in use: "kernel", "ebpf" or "userspace".
func (t *Tunnel) Datapath() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.name
}

// SetPorts sets what expose = "listeners" admits besides ICMPv6 and replies.
// Before the first call nothing is admitted.
func (t *Tunnel) SetPorts(ports []Port) error {
	for _, p := range ports {
		if p.Proto != "tcp" && p.Proto != "udp" || p.First == 0 {
			return fmt.Errorf("tunnel: port %s/%d-%d: not a port; write tcp or udp and 1 to 65535", p.Proto, p.First, p.Last)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.New("tunnel: closed")
	}
	if t.filter != nil {
		if err := t.ns.do(func() error { return t.filter.SetPorts(filterPorts(ports)) }); err != nil {
			return explain("admit ports", capAdmin, err)
		}
	}
	t.ports = slices.Clone(ports)
	return nil
}

// Changes delivers each change of our address. Only the newest is kept for a
// slow reader. The channel is never closed.
func (t *Tunnel) Changes() <-chan Change { return t.changes }

// Status returns what the tunnel is and its counters.
func (t *Tunnel) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := Status{
		Interface: t.cfg.Interface, Kind: t.cfg.Kind, Role: t.cfg.Role,
		Datapath: t.name, Fallback: slices.Clone(t.fallback),
		Local: t.site.place.Local, Delegated: t.site.place.Delegated, Address: t.site.place.Address,
		Domain: t.site.cfg.Prefix, IPv4MaskLen: t.site.cfg.IPv4MaskLen, Relays: slices.Clone(t.site.cfg.Relays), LeaseFrom: t.from, Relay: t.site.place.Gateway, MTU: t.site.mtu, Expose: t.cfg.Expose, Filter: "none",
		Ports: slices.Clone(t.ports), Since: t.state.Since, Remade: t.remade, Drops: maps.Clone(t.past),
	}
	if t.closed {
		return st
	}
	if t.filter != nil && t.cfg.Expose == ExposeListeners {
		st.Filter = "stateless"
		if t.filter.Stateful() {
			st.Filter = "stateful"
		}
	}
	_ = t.ns.do(func() error { // counters that cannot be read are absent
		if t.dp != nil {
			t.dp.count(&st)
		}
		counts, err := filter.Counters(t.cfg.Interface)
		for reason, n := range counts {
			st.Drops[reason] += n
		}
		return err
	})
	st.Received.add(t.received)
	st.Sent.add(t.sent)
	return st
}

// Close takes back what Up made, in reverse. Call it after Serve has returned.
// A second call does nothing.
func (t *Tunnel) Close() error { return t.end(false) }

// Leave ends this process's part and leaves the tunnel standing for the next
// Up, which adopts it by the state file.
func (t *Tunnel) Leave() error { return t.end(true) }

func (t *Tunnel) end(leave bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	err := t.ns.do(func() error {
		if leave {
			return errors.Join(t.closeDatapath(true), t.file.unlock())
		}
		err := errors.Join(t.state.dropForeignLink(t.cfg.Interface), t.takeBack(nil), t.closeDatapath(false))
		if err != nil {
			return errors.Join(err, t.file.unlock())
		}
		return t.file.remove()
	})
	return errors.Join(err, t.ns.close())
}

func (t *Tunnel) closeDatapath(leave bool) error {
	if t.dp == nil {
		return nil
	}
	return t.dp.close(leave)
}
