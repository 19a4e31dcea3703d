package acl

import "sync/atomic"

// A Tally is what one rule of a Policy has decided.
type Tally struct {
	Rule    string `json:"rule"` // as written; "" for the default
	Pos     Pos    `json:"at"`
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	Gated   uint64 `json:"gated"` // refused by a gate: this rule is limit or conns
}

// tallies counts what one rule decides. Policies that follow one another in a
// reload share those of equal rules.
type tallies struct{ allowed, denied, gated atomic.Uint64 }

// Tallies returns what Check has decided by each rule, in order, and by the
// default at the end. A rule that only said "no match" is not counted.
func (p *Policy) Tallies() []Tally {
	if p == nil {
		return nil
	}
	all := make([]Tally, 0, len(p.counts))
	for i, c := range p.counts {
		t := Tally{Allowed: c.allowed.Load(), Denied: c.denied.Load(), Gated: c.gated.Load()}
		if i < len(p.rules) {
			t.Rule, t.Pos = p.rules[i].text.Text, p.rules[i].text.Pos
		}
		all = append(all, t)
	}
	return all
}

// Continue makes p go on with the tallies of the equal rules of before, wherever
// they stand. It is called before p decides anything, or when before went on with
// those of p.
func (p *Policy) Continue(before *Policy) {
	if p == nil || before == nil || p == before {
		return
	}
	type nth struct {
		text string
		n    int
	}
	old, seen := map[nth]*tallies{}, map[string]int{}
	for i, c := range before.counts {
		text := before.textOf(i)
		old[nth{text, seen[text]}] = c
		seen[text]++
	}
	clear(seen)
	for i := range p.counts {
		text := p.textOf(i)
		// A reload that is taken back comes here with a p that decides already:
		// it has these tallies, and nothing may be written.
		if c := old[nth{text, seen[text]}]; c != nil && c != p.counts[i] {
			p.counts[i] = c
		}
		seen[text]++
	}
}

// textOf is rule i as written, "" for the default.
func (p *Policy) textOf(i int) string {
	if i < len(p.rules) {
		return p.rules[i].text.Text
	}
	return ""
}

func newTallies(n int) []*tallies {
	all := make([]*tallies, n)
	for i := range all {
		all[i] = new(tallies)
	}
	return all
}

// tally counts that rule i decided v.
func (p *Policy) tally(i int, v *Verdict) {
	switch c := p.counts[i]; {
	case v.Allow:
		c.allowed.Add(1)
	case v.Status == statusGated:
		c.gated.Add(1)
	default:
		c.denied.Add(1)
	}
}
