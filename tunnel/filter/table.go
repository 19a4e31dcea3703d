package filter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

// A Config says what the tables of one tunnel hold.
type Config struct {
	// Interface is the tunnel's.
	Interface string
	// Domain is the 6rd prefix: its addresses are no source on any other
	// interface. Zero: no such rule (6in4).
	Domain netip.Prefix
	// Listeners makes the tunnel let in Ports, ICMPv6 and replies only.
	Listeners bool
	// Ports are admitted where Listeners is set.
	Ports []Port
	// Forward lets packets through to other interfaces: a relay does.
	Forward bool
	// Silent is our IPv4 address where the kernel's protocol-41 handler, which
	// has no device of ours, says "port unreachable" to whom we serve. Zero: it
	// does not.
	Silent netip.Addr
	// Kernel holds the checks that the kernel's sit device does not make
	// itself; nil for the datapaths that make all of them.
	Kernel *Kernel
}

// Kernel is what the rules in front of a sit device are made of.
type Kernel struct {
	Local  netip.Addr
	Strict bool // packets have to come by the interface that leads to their source
	Relays []netip.Addr
	Domain netip.Prefix // zero for 6in4
	Rules  []ingress.Rule
	Out    ingress.Outbound
	MTU    int
	// Split lets routers split what goes out. Where several machines share
	// Local, their identifications would mix.
	Split bool
}

// A Port is a range of ports of one protocol.
type Port struct {
	UDP         bool
	First, Last uint16
}

// Filter is the tables of one tunnel, as they stand in the kernel.
type Filter struct {
	name     string
	tcp, udp *nftables.Set
	stateful bool

	listeners bool   // Config.Listeners
	others    bool   // rules of others ask conntrack about what comes to these
	seen      uint32 // the generation of nftables in which that was looked up
}

// TableName is the name of the tables for a tunnel interface.
func TableName(iface string) string {
	clean := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}
	return ours + strings.Map(clean, iface)
}

// Apply replaces the tables by those of cfg in one transaction, in the network
// namespace of the calling thread. Where the kernel has no conntrack the
// filter is stateless: TCP replies are told by their flags, UDP replies are
// not let in.
func Apply(cfg Config) (*Filter, error) {
	if err := absent(); err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range []features{{ct: true, fib: true}, {fib: true}, {ct: true}, {}} {
		flt, err := apply(cfg, f)
		if err == nil {
			return flt, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			break // not for want of an expression
		}
	}
	return nil, fmt.Errorf("nftables: %w", first(errs[len(errs)-1]))
}

// features are the expressions that a kernel may lack.
type features struct{ ct, fib bool }

func apply(cfg Config, has features) (*Filter, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	f := &Filter{name: TableName(cfg.Interface), stateful: has.ct, listeners: cfg.Listeners}
	f.seen, _ = generation() // 0 where nobody can say: Outdated looks then
	others, err := othersTrack()
	f.others = others || err != nil // to track too much breaks nothing
	b := &builder{conn: conn, cfg: cfg, has: has}
	b.replaceTable(nftables.TableFamilyIPv6, f.name)
	if f.tcp, err = b.portSet("tcp", cfg.Ports, false); err != nil {
		return nil, err
	}
	if f.udp, err = b.portSet("udp", cfg.Ports, true); err != nil {
		return nil, err
	}
	if cfg.Domain.IsValid() {
		b.foreign()
	}
	if cfg.Kernel != nil {
		b.inside()
		b.leaving()
	}
	if cfg.Listeners {
		if has.ct && !f.others {
			b.track(f.tcp, f.udp)
		}
		b.expose(f.tcp, f.udp)
		if !cfg.Forward {
			b.forward()
		}
	}
	if cfg.Kernel != nil || cfg.Silent.IsValid() {
		b.replaceTable(nftables.TableFamilyIPv4, f.name)
	}
	if cfg.Kernel != nil {
		b.outside()
		if cfg.Kernel.Split {
			b.split()
		}
	}
	if cfg.Silent.IsValid() {
		b.silent()
	}
	return f, conn.Flush()
}

// Stateful reports whether replies are known by conntrack.
func (f *Filter) Stateful() bool { return f.stateful }

// SetPorts replaces the admitted ports in one transaction.
func (f *Filter) SetPorts(ports []Port) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	for set, udp := range map[*nftables.Set]bool{f.tcp: false, f.udp: true} {
		conn.FlushSet(set)
		if e := elements(ports, udp); len(e) > 0 {
			if err := conn.SetAddElements(set, e); err != nil {
				return err
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables: ports of %q: %w", f.name, err)
	}
	return nil
}

// Remove deletes the tables of a tunnel interface. What is not there is no
// error, nor is a kernel that cannot have any.
func Remove(iface string) error {
	var errs []error
	if absent() != nil {
		return nil
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv6, nftables.TableFamilyIPv4} {
		conn, err := dial()
		if err != nil {
			return err
		}
		conn.DelTable(&nftables.Table{Family: family, Name: TableName(iface)})
		if err := conn.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("nftables: delete table %q: %w", TableName(iface), err))
		}
	}
	return errors.Join(errs...)
}

// Counters returns the packets dropped by the rules, by reason.
func Counters(iface string) (map[string]uint64, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	counts := make(map[string]uint64)
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv6, nftables.TableFamilyIPv4} {
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, err
		}
		for _, c := range chains {
			if c.Table.Name != TableName(iface) {
				continue
			}
			rules, err := conn.GetRules(c.Table, c)
			if err != nil {
				return nil, err
			}
			for _, r := range rules {
				addCounter(counts, r)
			}
		}
	}
	return counts, nil
}

// Stands reports whether the table of a tunnel interface is there, as far as
// that can be seen.
func Stands(iface string) bool {
	conn, err := dial()
	if err != nil {
		return true
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv6)
	return err != nil || slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == TableName(iface) })
}

func addCounter(counts map[string]uint64, r *nftables.Rule) {
	reason, ok := userdata.GetString(r.UserData, userdata.TypeComment)
	if !ok {
		return
	}
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok && c.Packets > 0 {
			counts[reason] += c.Packets
		}
	}
}

// A builder collects the messages of one transaction.
type builder struct {
	conn  *nftables.Conn
	cfg   Config
	has   features
	table *nftables.Table
}

// replaceTable begins a table anew: the first line makes the second one hold
// where there was none.
func (b *builder) replaceTable(family nftables.TableFamily, name string) {
	b.table = &nftables.Table{Family: family, Name: name}
	b.conn.AddTable(b.table)
	b.conn.DelTable(b.table)
	b.conn.AddTable(b.table)
}

func (b *builder) chain(name string, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{
		Name: name, Table: b.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: prio,
	})
}

// rule adds a rule; reason, where there is one, is its comment.
func (b *builder) rule(c *nftables.Chain, reason string, parts ...[]expr.Any) {
	r := &nftables.Rule{Table: b.table, Chain: c, Exprs: join(parts...)}
	if reason != "" {
		r.UserData = userdata.AppendString(nil, userdata.TypeComment, reason)
	}
	b.conn.AddRule(r)
}

func (b *builder) portSet(name string, ports []Port, udp bool) (*nftables.Set, error) {
	id := uint32(1) // in the transaction; the library's own counter is a global without a lock
	if udp {
		id = 2
	}
	set := &nftables.Set{
		Table: b.table, ID: id, Name: name, Interval: true,
		KeyType: nftables.TypeInetService, KeyByteOrder: binaryutil.BigEndian,
	}
	return set, b.conn.AddSet(set, elements(ports, udp))
}

// elements are the ranges of one protocol as an interval set wants them: in
// order, apart, each as its start and the port after its end.
func elements(ports []Port, udp bool) []nftables.SetElement {
	var ranges []Port
	for _, p := range ports {
		if p.UDP == udp && p.First > 0 {
			p.Last = max(p.First, p.Last)
			ranges = append(ranges, p)
		}
	}
	slices.SortFunc(ranges, func(a, b Port) int { return cmp.Compare(a.First, b.First) })
	var out []nftables.SetElement
	for i := 0; i < len(ranges); {
		first, last := ranges[i].First, int(ranges[i].Last)
		for i++; i < len(ranges) && int(ranges[i].First) <= last+1; i++ {
			last = max(last, int(ranges[i].Last))
		}
		out = append(out, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(first)})
		if last < 65535 {
			out = append(out, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(uint16(last + 1)), IntervalEnd: true})
		}
	}
	return out
}
