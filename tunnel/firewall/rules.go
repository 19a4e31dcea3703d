package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Rules are the chains of a network namespace, but for our own tables'. The
// zero Rules accept everything.
type Rules struct {
	chains []chain // base chains by priority, then the others
}

// A chain is one chain with its rules and the sets that they look into.
type chain struct {
	family   nftables.TableFamily
	table    string
	name     string
	hook     int // -1: not a base chain
	priority int
	drops    bool // by policy
	rules    [][]expr.Any
	sets     map[string]set
}

// A set is the elements of a named or anonymous set or map.
type set struct {
	interval bool
	concat   bool
	elements []nftables.SetElement
}

// ours begins the names of the tables that the tunnel's own filter makes.
const ours = "genkan_"

// Read reads the rules of the calling thread's network namespace. It needs
// CAP_NET_ADMIN.
func Read() (*Rules, error) {
	nft, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("firewall: nftables: %w", err)
	}
	list, err := nft.ListChains()
	if err != nil {
		return nil, fmt.Errorf("firewall: nftables: %w", err)
	}
	r := &Rules{}
	for _, c := range list {
		if strings.HasPrefix(c.Table.Name, ours) {
			continue
		}
		if one, ok := readable(c); ok {
			if err := one.read(nft, c); err != nil {
				return nil, fmt.Errorf("firewall: chain %q: %w", one.label(), err)
			}
			r.chains = append(r.chains, one)
		}
	}
	slices.SortStableFunc(r.chains, func(a, b chain) int { return a.priority - b.priority })
	return r, nil
}

// readable is a chain that filters IP packets, or may be jumped to from one.
func readable(c *nftables.Chain) (chain, bool) {
	one := chain{family: c.Table.Family, table: c.Table.Name, name: c.Name, hook: -1, sets: map[string]set{}}
	switch c.Table.Family {
	case nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet:
	default:
		return one, false
	}
	if c.Hooknum != nil {
		if c.Type == nftables.ChainTypeNAT {
			return one, false
		}
		one.hook, one.drops = int(*c.Hooknum), c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
	}
	if c.Priority != nil {
		one.priority = int(*c.Priority)
	}
	return one, true
}

func (c *chain) read(nft *nftables.Conn, from *nftables.Chain) error {
	rules, err := nft.GetRules(from.Table, from)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		c.rules = append(c.rules, rule.Exprs)
		for _, e := range rule.Exprs {
			if l, ok := e.(*expr.Lookup); ok {
				if err := c.readSet(nft, from.Table, l.SetName); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *chain) readSet(nft *nftables.Conn, table *nftables.Table, name string) error {
	if _, have := c.sets[name]; have {
		return nil
	}
	s, err := nft.GetSetByName(table, name)
	if err != nil {
		return err
	}
	elements, err := nft.GetSetElements(s)
	if err != nil {
		return err
	}
	c.sets[name] = set{interval: s.Interval, concat: s.Concatenation, elements: elements}
	return nil
}

// label is the chain as nft(8) names it: FAMILY TABLE CHAIN.
func (c *chain) label() string {
	family := "inet"
	switch c.family {
	case nftables.TableFamilyIPv4:
		family = "ip"
	case nftables.TableFamilyIPv6:
		family = "ip6"
	}
	return family + " " + c.table + " " + c.name
}

// sees reports whether packets of this family come to the chain.
func (c *chain) sees(p Packet) bool {
	switch c.family {
	case nftables.TableFamilyIPv4:
		return p.Src.Is4()
	case nftables.TableFamilyIPv6:
		return p.Src.Is6()
	}
	return true
}
