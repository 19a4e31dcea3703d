package proxy

import (
	"errors"
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// With source = "transparent" a backend answers to the client's address, by
// way of us (its route to clients leads here). The kernel would forward these
// packets, or drop them; they have to be led to our sockets:
//
//	packet to a client ──► is it for a transparent socket? ──► mark ──► ip rule ──► local
//
// TransparentBySocket asks just that (nftables, "socket transparent"), so this
// machine may be a router for the backend's other connections. The mark leads
// to a table whose one route takes all addresses for local ones.
// TransparentByPort does without nftables: an ip rule takes all that comes from
// a backend's port, also answers to clients that reached it directly through
// this machine, and breaks those.
const (
	transparentMark  = 0x6700
	transparentTable = 10367
	transparentName  = "genkan_transparent"
)

// transparency is the policy routing of transparent sources. The zero value
// has made nothing.
type transparency struct {
	route func() error            // removes the table's route; nil: not made
	table func() error            // removes the nftables table; nil: not made
	rules map[string]netlink.Rule // made, by their text
}

// transparentRules tells which rules st needs, none when it has no transparent sources.
func (st *state) transparentRules() []netlink.Rule {
	base := func() netlink.Rule {
		rule := *netlink.NewRule()
		rule.Family, rule.Table, rule.Priority = netlink.FAMILY_V4, transparentTable, 10367
		return rule
	}
	var rules []netlink.Rule
	for _, g := range st.sortedGroups() {
		if !g.config.transparent {
			continue
		}
		if st.config.TransparentBy == TransparentBySocket {
			rule, mask := base(), uint32(0xff00)
			rule.Mark, rule.Mask = transparentMark, &mask
			return []netlink.Rule{rule}
		}
		for _, m := range g.members {
			for _, ip := range m.known() {
				for _, protocol := range []int{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
					rule := base()
					rule.Src = &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}
					rule.IPProto, rule.Sport = protocol, netlink.NewRulePortRange(m.port, m.port)
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules
}

// checkTransparent finds backends whose answers no rule can be made for: by port
// it is their address that tells them, and a name's may change.
func (st *state) checkTransparent(errs *faults) {
	if st.config.TransparentBy != TransparentByPort {
		return
	}
	for _, g := range st.sortedGroups() {
		for _, to := range g.config.to {
			if g.config.transparent && to.Name != "" {
				errs.add(fmt.Sprintf("%s %q", g.config.key, g.config.name), fmt.Errorf(
					"to %q: transparent_by = \"port\" knows a backend by its address; write that, or transparent_by = \"socket\"", to))
			}
		}
	}
}

// prepare makes what st needs and is not there yet. After an error keep undoes
// what was made.
func (t *transparency) prepare(st *state) error {
	wanted := st.transparentRules()
	if len(wanted) == 0 {
		return nil
	}
	if err := t.make(st.config.TransparentBy, wanted); err != nil {
		return fmt.Errorf("source \"transparent\": %w", needsAdmin(err))
	}
	return nil
}

func (t *transparency) make(by TransparentBy, wanted []netlink.Rule) error {
	if t.route == nil {
		undo, err := routeAllLocally()
		if err != nil {
			return err
		}
		t.route, t.rules = undo, map[string]netlink.Rule{}
	}
	if t.table == nil && by == TransparentBySocket {
		if err := markTransparent(); err != nil {
			return fmt.Errorf("nftables table %q: %w (without nftables: transparent_by = \"port\")", transparentName, err)
		}
		t.table = unmarkTransparent
	}
	for _, rule := range wanted {
		if _, made := t.rules[ruleText(rule)]; made {
			continue
		}
		if err := netlink.RuleAdd(&rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %q: %w", rule, err)
		}
		t.rules[ruleText(rule)] = rule
	}
	return nil
}

// ruleText tells rules apart.
func ruleText(r netlink.Rule) string {
	text := fmt.Sprint(r.Src, r.IPProto, r.Mark)
	if r.Sport != nil {
		text += fmt.Sprint(" ", r.Sport.Start)
	}
	return text
}

// keep undoes what st does not need.
func (t *transparency) keep(st *state) error {
	wanted := map[string]bool{}
	for _, rule := range st.transparentRules() {
		wanted[ruleText(rule)] = true
	}
	var errs []error
	for text, rule := range t.rules {
		if !wanted[text] {
			errs = append(errs, gone(netlink.RuleDel(&rule)))
			delete(t.rules, text)
		}
	}
	if t.table != nil && (len(wanted) == 0 || st.config.TransparentBy != TransparentBySocket) {
		errs = append(errs, t.table())
		t.table = nil
	}
	if t.route != nil && len(wanted) == 0 {
		errs = append(errs, t.route())
		t.route = nil
	}
	return errors.Join(errs...)
}

// routeAllLocally makes every address of transparentTable one of ours.
func routeAllLocally() (undo func() error, err error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find interface \"lo\": %w", err)
	}
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		Table:     transparentTable,
		Type:      unix.RTN_LOCAL,
		Scope:     netlink.SCOPE_HOST,
		Protocol:  routeProtocol,
	}
	if err := netlink.RouteReplace(route); err != nil {
		return nil, fmt.Errorf("add route \"local default dev lo table %d\": %w", transparentTable, err)
	}
	return func() error { return gone(netlink.RouteDel(route)) }, nil
}

// markTransparent makes
//
//	table ip genkan_transparent { chain pre {
//	  type filter hook prerouting priority mangle; policy accept;
//	  meta l4proto { tcp, udp } socket transparent 1 meta mark set 0x6700
//	} }
func markTransparent() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: transparentName}
	conn.AddTable(table) // so that there is one to delete, of an earlier run too
	conn.DelTable(table)
	conn.AddTable(table)
	accept := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{
		Name: "pre", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle, Policy: &accept,
	})
	for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
			&expr.Socket{Key: expr.SocketKeyTransparent, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}},
			&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(transparentMark)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		}})
	}
	return conn.Flush()
}

func unmarkTransparent() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: transparentName})
	if err := gone(conn.Flush()); err != nil {
		return fmt.Errorf("remove nftables table %q: %w", transparentName, err)
	}
	return nil
}

// gone takes the error of removing what is not there for success.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func needsAdmin(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (needs CAP_NET_ADMIN)", err)
	}
	return err
}
