package lab

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// DropICMP makes a router silent, as careless operators do: it drops the
// ICMPv4 that it would send itself.
func (n *Namespace) DropICMP() error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.fd)))
	if err != nil {
		return fmt.Errorf("lab: namespace %q: nftables: %w", n.Name, err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "silent"})
	chain := c.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMP}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("lab: namespace %q: drop ICMP: %w", n.Name, err)
	}
	return nil
}

// Prohibit makes a host answer all UDP by ICMP "communication administratively
// prohibited" (RFC 1812 §5.2.7.1), as firewalls do.
func (n *Namespace) Prohibit() error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.fd)))
	if err != nil {
		return fmt.Errorf("lab: namespace %q: nftables: %w", n.Name, err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "prohibit"})
	chain := c.AddChain(&nftables.Chain{Name: "in", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 13},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("lab: namespace %q: prohibit UDP: %w", n.Name, err)
	}
	return nil
}
