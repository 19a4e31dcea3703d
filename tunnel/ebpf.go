package tunnel

import (
	"errors"
	"fmt"
	"path/filepath"

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
)

// ebpf is the userspace datapath with two programs before it, which take most
// packets off its hands.
type ebpf struct {
	userspace
	progs *bpf.Datapath
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
	cfg := bpf.Config{
		Check: s.check, TTL: s.cfg.TTL, Anycast: s.cfg.Anycast,
		TUN: tun.Attrs().Index, Uplink: uplink.Attrs().Index, LinkHeader: ethernetHeader,
		PinDir: s.pinDir(),
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
	return nil
}

// uplink is the interface that the programs work on.
func (s site) uplink() (netlink.Link, error) {
	if s.place.Uplink == "" {
		return nil, fmt.Errorf("tunnel: no IPv4 route to the other end: the eBPF datapath has to know its uplink")
	}
	link, err := netlink.LinkByName(s.place.Uplink)
	if err != nil {
		return nil, fmt.Errorf("tunnel: uplink: %w", err)
	}
	a := link.Attrs()
	if a.EncapType != "ether" {
		return nil, fmt.Errorf("tunnel: the eBPF datapath needs an Ethernet uplink; %q is %s", a.Name, a.EncapType)
	}
	// What does not fit the uplink would vanish: the programs cannot fragment.
	if s.mtu+outerHeader > a.MTU {
		return nil, fmt.Errorf("tunnel: the eBPF datapath with mtu %d needs an uplink of %d; %q has %d", s.mtu, s.mtu+outerHeader, a.Name, a.MTU)
	}
	return link, nil
}

const (
	outerHeader = 20

	// programs stands in a link's Params before the directory of the programs.
	programs = ", eBPF programs in "
)

// pinDir is where the programs are pinned, so that they outlive this process;
// "" where there is no bpffs. The network namespace is in its name, since a
// bpffs may be seen by several.
func (s site) pinDir() string {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return ""
	}
	for _, dir := range []string{filepath.Join(s.cfg.StateDir, "bpf"), bpfDir} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.BPF_FS_MAGIC {
			return filepath.Join(dir, fmt.Sprintf("genkan-%d-%s", ns.Ino, s.cfg.Interface))
		}
	}
	return ""
}

func (e *ebpf) count(st *Status) {
	e.userspace.count(st)
	if e.progs == nil {
		return
	}
	c, err := e.progs.Counters()
	if err != nil {
		return
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
	var err error
	if e.progs != nil {
		err = e.progs.Close(leave)
		e.progs = nil
	}
	return errors.Join(err, e.userspace.close(leave))
}
