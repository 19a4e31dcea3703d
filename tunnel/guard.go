package tunnel

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"genkan/tunnel/bpf"
	"genkan/tunnel/ingress"
)

// A guard makes the ingress checks on the uplink, by an eBPF program, before the
// kernel's sit sees a packet. The nftables tables behind it stay: they judge what
// the program leaves to others, and everything where there is no program, and
// they outlive this process, as sit does. The zero guard has none.
type guard struct {
	progs *bpf.Datapath
	last  bpf.Counters // of programs that are gone
	why   error        // why there is none
}

// open puts the program for s on the uplink, in place of one for another site.
func (g *guard) open(s site) {
	cfg, err := s.guardConfig()
	switch {
	case err != nil:
	case g.progs != nil:
		err = g.progs.Update(cfg)
	default:
		g.progs, err = bpf.OpenGuard(cfg)
	}
	if err != nil {
		_ = g.close() // one for another site would drop what is for this one
		s.cfg.Log.Info("tunnel: checks in front of sit by nftables alone", "interface", s.cfg.Interface, "error", err)
	}
	g.why = err
}

func (s site) guardConfig() (bpf.Config, error) {
	uplink, err := s.etherUplink()
	if err != nil {
		return bpf.Config{}, err
	}
	return bpf.Config{Check: s.check, Uplink: uplink.Attrs().Index, LinkHeader: ethernetHeader}, nil
}

// etherUplink is the interface towards the other end, if it is one that the
// programs know.
func (s site) etherUplink() (netlink.Link, error) {
	if s.place.Uplink == "" {
		return nil, fmt.Errorf("no IPv4 route to the other end: eBPF has to know its uplink")
	}
	link, err := netlink.LinkByName(s.place.Uplink)
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	if a := link.Attrs(); a.EncapType != "ether" {
		return nil, fmt.Errorf("eBPF needs an Ethernet uplink; %q is %s", a.Name, a.EncapType)
	}
	return link, nil
}

// count adds what the program has dropped, and says who checks.
func (g *guard) count(st *Status) {
	st.Checks = []string{checksNFTables}
	all := []bpf.Counters{g.last}
	if g.progs != nil {
		st.Checks = []string{checksEBPF, checksNFTables}
		if now, err := g.progs.Counters(); err == nil {
			all = append(all, now)
		}
	} else if g.why != nil {
		st.Fallback = append(st.Fallback, "ebpf in front of sit: "+g.why.Error())
	}
	for _, c := range all {
		for r, n := range c.Reasons {
			if n > 0 {
				st.Drops[ingress.Reason(r).String()] += n
			}
		}
	}
}

func (g *guard) close() error {
	if g.progs == nil {
		return nil
	}
	if c, err := g.progs.Counters(); err == nil {
		for r, n := range c.Reasons {
			g.last.Reasons[r] += n
		}
	}
	err := g.progs.Close(false)
	g.progs = nil
	return err
}
