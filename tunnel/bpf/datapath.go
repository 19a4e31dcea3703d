package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

// A Config is what the programs are generated from.
type Config struct {
	Check   *ingress.Checker // the tunnel's rules
	TTL     int              // of the outer packets, 1 to 255
	Anycast bool             // our IPv4 address is one of several relays': always set DF

	MTU        int // of the TUN device, for the MSS of TCP
	TUN        int // index of the TUN device
	Uplink     int // index of the interface that packets leave and come by
	LinkHeader int // bytes of its link header; 14 for Ethernet

	// Routes are the IPv4 routes, from Compact: what leaves by another interface
	// than Uplink is left to the userspace datapath. nil: all leaves by it.
	Routes []Route

	// PinDir is a directory of our own in a bpffs, made when missing, in which
	// the programs outlive this process. "": they end with Close.
	PinDir string

	// tunHeader is the TUN device's link header, which it has only in tests:
	// the kernel cannot run a program on a packet without one.
	tunHeader int
}

// A Datapath is the programs, attached: two, or the guard. It is not safe for
// concurrent use, but for Counters.
type Datapath struct {
	cfg      Config
	counters *ebpf.Map
	ends     []end
}

// An end is one program where it is attached.
type end struct {
	name   string
	attach ebpf.AttachType
	build  func(cfg Config, counters int) asm.Instructions
	index  func(cfg Config) int // of the interface
	prog   *ebpf.Program
	link   link.Link
	onto   int // interface index
}

// Open loads and attaches the programs. What is pinned in cfg.PinDir is taken
// over: its counters go on, and its programs are exchanged under traffic.
func Open(cfg Config) (*Datapath, error) {
	return openEnds(cfg, bothEnds())
}

// OpenGuard loads and attaches one program, which drops on the uplink what the
// table of package ingress does not let in. What it leaves to the stack, since
// it takes a closer look than it has, some other filter has to judge: fragments,
// IPv4 options, extension headers, ICMPv6 errors.
func OpenGuard(cfg Config) (*Datapath, error) {
	return openEnds(cfg, guardEnd())
}

func bothEnds() []end {
	return []end{
		{name: "encap", attach: ebpf.AttachTCXEgress, build: encap, index: func(c Config) int { return c.TUN }},
		{name: "decap", attach: ebpf.AttachTCXIngress, build: decap, index: uplink},
	}
}

func guardEnd() []end {
	return []end{{name: "guard", attach: ebpf.AttachTCXIngress, build: guard, index: uplink}}
}

func uplink(c Config) int { return c.Uplink }

func openEnds(cfg Config, ends []end) (*Datapath, error) {
	d := &Datapath{cfg: cfg, ends: ends}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close(false))
	}
	return d, nil
}

func (d *Datapath) open() error {
	if err := probe(d.cfg, d.ends[len(d.ends)-1]); err != nil {
		return err
	}
	if d.cfg.PinDir != "" {
		if err := os.MkdirAll(d.cfg.PinDir, 0o700); err != nil {
			return fmt.Errorf("pin eBPF programs: %w", err)
		}
	}
	if err := d.openCounters(); err != nil {
		return err
	}
	return d.Update(d.cfg)
}

// openCounters takes over the pinned map, if it is one that this program made.
func (d *Datapath) openCounters() error {
	spec, path := counterSpec(), d.pin("counters")
	if path != "" {
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err == nil {
			if spec.Compatible(m) == nil {
				d.counters = m
				return nil
			}
			err = errors.Join(m.Unpin(), m.Close())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take over eBPF counters: %w", err)
		}
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return explain("create eBPF map", err)
	}
	d.counters = m
	if path != "" {
		if err := m.Pin(path); err != nil {
			return fmt.Errorf("pin eBPF counters: %w", err)
		}
	}
	return nil
}

// Update loads the programs for another configuration and exchanges them, one
// after the other; no packet meets a gap. PinDir must stay the same.
func (d *Datapath) Update(cfg Config) error {
	if cfg.PinDir != d.cfg.PinDir {
		return fmt.Errorf("eBPF datapath: pinned in %q; close it before it is pinned in %q", d.cfg.PinDir, cfg.PinDir)
	}
	d.cfg = cfg
	progs := make([]*ebpf.Program, len(d.ends))
	for i, e := range d.ends {
		var err error
		if progs[i], err = load(e.name, e.build(cfg, d.counters.FD())); err != nil {
			closeAll(progs)
			return err
		}
	}
	for i := range d.ends {
		if err := d.put(&d.ends[i], progs[i], d.ends[i].index(cfg)); err != nil {
			closeAll(progs[i:])
			return err
		}
	}
	return nil
}

func load(name string, ins asm.Instructions) (*ebpf.Program, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "genkan_" + name,
		Type:         ebpf.SchedCLS,
		Instructions: ins,
		License:      "Dual MIT/GPL", // the helpers ask for it
	})
	if err != nil {
		return nil, explain("load eBPF program "+name, err)
	}
	return prog, nil
}

// put attaches prog at an end, in place of what is there.
func (d *Datapath) put(e *end, prog *ebpf.Program, onto int) error {
	path := d.pin(e.name)
	if e.link == nil && path != "" {
		if err := d.adopt(e, path, onto); err != nil {
			return err
		}
	}
	if e.link != nil && e.onto != onto { // another interface
		if err := e.detach(); err != nil {
			return err
		}
	}
	if e.link != nil {
		if err := e.link.Update(prog); err != nil {
			return explain("exchange eBPF program "+e.name, err)
		}
		e.use(prog)
		return nil
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: onto, Program: prog, Attach: e.attach})
	if err != nil {
		return explain("attach eBPF program "+e.name, err)
	}
	if path != "" {
		if err := l.Pin(path); err != nil {
			return errors.Join(fmt.Errorf("pin eBPF program %s: %w", e.name, err), l.Close())
		}
	}
	e.link, e.onto = l, onto
	e.use(prog)
	return nil
}

// adopt takes over a pinned link that still stands on the interface, and
// removes one that does not.
func (d *Datapath) adopt(e *end, path string, onto int) error {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take over eBPF program %s: %w", e.name, err)
	}
	if info, err := l.Info(); err == nil {
		if t := info.TCX(); t != nil && int(t.Ifindex) == onto && ebpf.AttachType(t.AttachType) == e.attach {
			e.link, e.onto = l, onto
			return nil
		}
	}
	if err := errors.Join(l.Unpin(), l.Close()); err != nil {
		return fmt.Errorf("remove stale eBPF program %s: %w", e.name, err)
	}
	return nil
}

func (e *end) use(prog *ebpf.Program) {
	if e.prog != nil {
		_ = e.prog.Close() // the link holds what it uses
	}
	e.prog = prog
}

func (e *end) detach() error {
	if e.link == nil {
		return nil
	}
	err := errors.Join(e.link.Unpin(), e.link.Close())
	e.link = nil
	return err
}

// Pinned reports whether the programs outlive this process.
func (d *Datapath) Pinned() bool { return d.cfg.PinDir != "" }

// Close lets go of the programs. Where leave is set and they are pinned, they
// go on; else they are detached, and the directory is removed.
func (d *Datapath) Close(leave bool) error {
	var errs []error
	leave = leave && d.Pinned()
	for i := range d.ends {
		e := &d.ends[i]
		switch {
		case leave && e.link != nil:
			errs = append(errs, e.link.Close())
			e.link = nil
		case !leave:
			errs = append(errs, e.detach())
		}
		e.use(nil)
	}
	if d.counters != nil && !leave {
		errs = append(errs, d.counters.Unpin())
	}
	if d.counters != nil {
		errs = append(errs, d.counters.Close())
		d.counters = nil
	}
	if d.Pinned() && !leave {
		if err := Remove(d.cfg.PinDir); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Remove detaches and removes what is pinned in dir, also what a process left
// that was killed. A directory that is not there is no error.
func Remove(dir string) error {
	var errs []error
	for _, name := range []string{"encap", "decap", "counters"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// pin is the path of an object of ours, or "".
func (d *Datapath) pin(name string) string {
	if d.cfg.PinDir == "" {
		return ""
	}
	return filepath.Join(d.cfg.PinDir, name)
}

func closeAll(progs []*ebpf.Program) {
	for _, p := range progs {
		if p != nil {
			_ = p.Close()
		}
	}
}

// explain adds to an error of the kernel what is missing.
func explain(doing string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM): // the library adds a guess at limits that Linux has no more
		return fmt.Errorf("%s: %w (needs CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW); in a systemd unit: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_NET_RAW", doing, unix.EPERM)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%s: %w (needs Linux 6.6 with CONFIG_BPF_SYSCALL and CONFIG_NET_XGRESS)", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
