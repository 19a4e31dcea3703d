package acl

import (
	"fmt"
	"slices"
)

// A Warning is something in the rules that is legal and probably not meant.
type Warning struct {
	Pos  Pos
	Text string // the rule as written
	Msg  string // what it does; what to write
}

// String returns `genkan.toml:14:9: access "allow ::/0": "::/0" is IPv6 only…`.
func (w Warning) String() string { return (&Error{w.Pos, w.Text, w.Msg}).Error() }

// Warnings returns what Compile found odd, in the order of the rules. Lists
// are judged by what they held then.
func (p *Policy) Warnings() []Warning {
	if p == nil {
		return nil
	}
	return p.warnings
}

func warn(p *Policy) []Warning {
	var out []Warning
	shadows := p.shadows()
	for i := range p.rules {
		r := &p.rules[i]
		add := func(msg string) {
			if msg != "" {
				out = append(out, Warning{r.text.Pos, r.text.Text, msg})
			}
		}
		add(shadows[i])
		add(p.halfOfAll(r))
		if shadows[i] == "" {
			for _, msg := range p.overlaps(i) {
				add(msg)
			}
		}
	}
	return append(out, p.oneFamily()...)
}

func at(p Pos) string {
	if p == (Pos{}) {
		return ""
	}
	return " (" + p.String() + ")"
}

func (m *matcher) has4All() bool { return m.any4 || m.set.fam4 }
func (m *matcher) has6All() bool { return m.any6 || m.set.fam6 }

// has4 and has6 report whether m means any address of the family.
func (m *matcher) has4() bool {
	return m.has4All() || m.set.v4.len() > 0 || slices.ContainsFunc(m.lists, func(l *List) bool { return l.Set().has4() })
}

func (m *matcher) has6() bool {
	return m.has6All() || m.set.v6.len() > 0 || m.inside != nil ||
		slices.ContainsFunc(m.lists, func(l *List) bool { return l.Set().has6() })
}

func (s *Set) has4() bool { return s != nil && (s.fam4 || s.v4.len() > 0) }
func (s *Set) has6() bool { return s != nil && (s.fam6 || s.v6.len() > 0) }

// halfOfAll warns of "::/0" or "0.0.0.0/0" where its other half is missing:
// whoever writes the family by its name means it.
func (p *Policy) halfOfAll(r *rule) string {
	var all4, all6 bool
	for i := range p.rules {
		if s := &p.rules[i]; s.verb == r.verb {
			all4, all6 = all4 || s.has4All(), all6 || s.has6All()
		}
	}
	switch {
	case r.set.fam6 && !all4:
		return "\"::/0\" is IPv6 only; write \"all\" for everybody, or \"ipv6\" if that is meant"
	case r.set.fam4 && !all6:
		return "\"0.0.0.0/0\" is IPv4 only; write \"all\" for everybody, or \"ipv4\" if that is meant"
	}
	return ""
}

// overlaps says where a list of rule i and one of an earlier rule disagree.
func (p *Policy) overlaps(i int) (out []string) {
	r := &p.rules[i]
	for j := range i {
		s := &p.rules[j]
		if s.verb == r.verb || s.verb.isGate() || r.verb.isGate() {
			continue
		}
		for a, mine := range r.lists {
			for b, theirs := range s.lists {
				if span, ok := common(mine.Set(), theirs.Set()); ok && mine != theirs {
					out = append(out, fmt.Sprintf("lists %q and %q have %s in common, where %q%s decides",
						r.listNames[a], s.listNames[b], span.Short(), s.text.Text, at(s.text.Pos)))
				}
			}
		}
	}
	return out
}

// common returns a range that is in both sets.
func common(a, b *Set) (Range, bool) {
	if a.Len() > b.Len() {
		a, b = b, a
	}
	for _, r := range a.Ranges() {
		if o, ok := b.Overlap(r); ok {
			return o, true
		}
	}
	return Range{}, false
}

// oneFamily warns of a rule set that lets in one family only, and does not
// name the other.
func (p *Policy) oneFamily() []Warning {
	var first *rule
	var allow4, allow6, named4, named6 bool
	for i := range p.rules {
		r := &p.rules[i]
		switch r.verb {
		case allow:
			if first == nil {
				first = r
			}
			allow4, allow6 = allow4 || r.has4(), allow6 || r.has6()
		case deny:
			named4, named6 = named4 || r.has4All() && !r.has6All(), named6 || r.has6All() && !r.has4All()
		}
	}
	msg := ""
	switch {
	case first == nil:
		first, msg = &p.rules[len(p.rules)-1], "no rule allows anybody; add \"allow all\", or the addresses that may enter"
		if first.verb == deny && first.any4 && first.any6 {
			return nil // "deny all" is meant
		}
	case allow4 && !allow6 && !named6:
		msg = "IPv6 clients are shut out, as only IPv4 addresses are allowed; add their prefixes, or \"deny ipv6\" if that is meant"
	case allow6 && !allow4 && !named4:
		msg = "IPv4 clients are shut out, as only IPv6 addresses are allowed; add their prefixes, or \"deny ipv4\" if that is meant"
	default:
		return nil
	}
	return []Warning{{first.text.Pos, first.text.Text, msg}}
}
