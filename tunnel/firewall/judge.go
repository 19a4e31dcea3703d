package firewall

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A Result is what becomes of a packet. The zero Result is Dropped.
type Result int

const (
	Dropped Result = iota
	Unsure         // dropped, unless a rule that cannot be read lets it in
	Accepted
)

// A Verdict is what becomes of a packet, and where that is decided.
type Verdict struct {
	Result Result
	Chain  string // the base chain that does not accept: "inet filter input"
	Policy bool   // no rule drops it: the chain's policy does
}

// maxDepth is NFT_JUMP_STACK_SIZE.
const maxDepth = 16

// Judge follows a packet through the chains of its way.
func (r *Rules) Judge(p Packet) Verdict {
	hooks := []int{unix.NF_INET_PRE_ROUTING, unix.NF_INET_LOCAL_IN}
	if p.Hook == Output {
		hooks = []int{unix.NF_INET_LOCAL_OUT, unix.NF_INET_POST_ROUTING}
	}
	for _, hook := range hooks {
		for i := range r.chains {
			c := &r.chains[i]
			if c.hook != hook || !c.sees(p) {
				continue
			}
			w := walk{rules: r, packet: newMatcher(p)}
			verdict, policy := w.chain(c, 0), false
			if verdict == goesOn || verdict == returns {
				if policy = c.drops; policy {
					verdict = drops
				}
			}
			switch {
			case verdict == drops && w.maybe:
				return Verdict{Result: Unsure, Chain: c.label(), Policy: policy}
			case verdict == drops:
				return Verdict{Result: Dropped, Chain: c.label(), Policy: policy}
			}
		}
	}
	return Verdict{Result: Accepted}
}

// A step is what a rule or chain says.
type step int

const (
	goesOn step = iota
	returns
	accepts
	drops
)

// A walk is one packet in one base chain.
type walk struct {
	rules  *Rules
	packet *matcher
	maybe  bool // a rule that cannot be read would have let it in
}

func (w *walk) chain(c *chain, depth int) step {
	if depth > maxDepth {
		return drops
	}
	for _, rule := range c.rules {
		if s := w.rule(c, rule, depth); s != goesOn {
			if s == returns {
				return goesOn
			}
			return s
		}
	}
	return goesOn
}

// rule carries out one rule's expressions until one does not hold.
func (w *walk) rule(c *chain, rule []expr.Any, depth int) step {
	w.packet.forget()
	unread := false
	for _, e := range rule {
		var v *expr.Verdict
		switch e := e.(type) {
		case *expr.Verdict:
			v = e
		case *expr.Reject:
			v = &expr.Verdict{Kind: expr.VerdictDrop}
		case *expr.Target:
			v = target(e)
		default:
			held, verdict := w.packet.holds(e, c.sets)
			switch held {
			case no:
				return goesOn
			case unknown:
				unread = true
			}
			v = verdict
		}
		if v == nil {
			continue
		}
		if s := w.verdict(c, v, depth, unread); s != goesOn || v.Kind != expr.VerdictContinue {
			return s
		}
	}
	return goesOn
}

// verdict carries a rule's verdict out. That of a rule with a match that
// cannot be read is only noted.
func (w *walk) verdict(c *chain, v *expr.Verdict, depth int, unread bool) step {
	switch v.Kind {
	case expr.VerdictAccept:
		if unread {
			w.maybe = true
			return goesOn
		}
		return accepts
	case expr.VerdictDrop:
		if unread {
			return goesOn
		}
		return drops
	case expr.VerdictReturn:
		if unread {
			return goesOn
		}
		return returns
	case expr.VerdictJump, expr.VerdictGoto:
		next := w.find(c, v.Chain)
		if next == nil {
			return goesOn
		}
		s := w.chain(next, depth+1)
		switch {
		case unread && s == accepts:
			w.maybe = true
			return goesOn
		case unread:
			return goesOn
		case s == goesOn && v.Kind == expr.VerdictGoto:
			return returns
		}
		return s
	}
	return goesOn
}

// find is another chain of the same table.
func (w *walk) find(c *chain, name string) *chain {
	for i := range w.rules.chains {
		if next := &w.rules.chains[i]; next.family == c.family && next.table == c.table && next.name == name {
			return next
		}
	}
	return nil
}

// target is what an extension of iptables does, as a verdict; nil where it
// decides nothing.
func target(t *expr.Target) *expr.Verdict {
	switch t.Name {
	case "REJECT", "DROP", "NFQUEUE":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return nil
}
