package acl

import (
	"fmt"
	"slices"
)

// maxShown bounds the spans of one list that are compared with earlier rules.
const maxShown = 10_000

// A reach is the clients that some rules take for sure.
type reach struct {
	direct []*Set  // by their address
	inside []*Set  // by an IPv4 address inside; whole families do not count
	lists  []*List // whatever these hold
	looked []*List // and whatever of it is inside
	named  []insideTarget
}

// with adds what m takes.
func (by reach) with(m *matcher) reach {
	direct := m.sets()
	for _, l := range m.lists {
		if l.fixed && !slices.Contains(by.lists, l) {
			direct = append(direct, l.Set())
		}
		if l.fixed && m.look && !slices.Contains(by.looked, l) {
			by.inside = append(by.inside, l.Set())
		}
	}
	by.direct = append(by.direct, direct...)
	by.lists = append(by.lists, m.lists...)
	by.named = append(by.named, m.inside...)
	if m.look {
		by.inside = append(by.inside, m.set)
		by.looked = append(by.looked, m.lists...)
	}
	return by
}

// sets are what m means other than lists.
func (m *matcher) sets() []*Set {
	if m.any4 || m.any6 {
		return []*Set{m.set, {fam4: m.any4, fam6: m.any6}}
	}
	return []*Set{m.set}
}

// A shadow is what earlier rules leave to a rule of all that it means.
type shadow struct {
	cast    bool // on all that the configuration says; what files hold is never judged, as it may change
	whole   bool // and on what is added to its lists at run time
	inside  bool // and on the IPv4 addresses inside IPv6 ones, where it looks for them
	because string
}

// deeper reports whether s leaves less than t.
func (s shadow) deeper(t shadow) bool {
	depth := func(s shadow) (n int) {
		for _, is := range [...]bool{s.cast, s.whole, s.inside} {
			if is {
				n++
			}
		}
		return n
	}
	return depth(s) > depth(t)
}

// shadows says for each rule what leaves nothing for it to match, "" for most:
// the first rule that leaves least to it, or all above it together where these
// leave less.
func (p *Policy) shadows() []string {
	out := make([]string, len(p.rules))
	reaches := make([]reach, len(p.rules))
	var all reach
	for i := range p.rules {
		r := &p.rules[i]
		var deepest shadow
		for j := range i {
			s := &p.rules[j]
			if s.verb.isGate() {
				continue
			}
			if one := reaches[j].on(&r.matcher); one.deeper(deepest) {
				deepest = one
				deepest.because = fmt.Sprintf("%q%s comes first", s.text.Text, at(s.text.Pos))
			}
		}
		if one := all.on(&r.matcher); one.deeper(deepest) {
			deepest = one
			deepest.because = "the rules above it take all that it means"
		}
		out[i] = deepest.words()
		if !r.verb.isGate() {
			reaches[i], all = reach{}.with(&r.matcher), all.with(&r.matcher)
		}
	}
	return out
}

// on tells what by leaves to m.
func (by reach) on(m *matcher) shadow {
	if !by.takes(m) {
		return shadow{}
	}
	s := shadow{cast: true, whole: missing(m.lists, by.lists) == 0 || by.takesAll(), inside: by.takesInside(m)}
	if s.inside && m.look && !by.takesAll6() && missing(m.lists, by.looked) > 0 {
		s.whole = false // what is added to the list can be inside, too
	}
	return s
}

// missing counts the lists that known has not.
func missing(lists, known []*List) (n int) {
	for _, l := range lists {
		if !slices.Contains(known, l) {
			n++
		}
	}
	return n
}

func (s shadow) words() string {
	switch {
	case !s.cast:
		return ""
	case s.whole && s.inside:
		return "never matches, as " + s.because + "; delete it, or move it up"
	case s.whole:
		return "matches no IPv4 client, as " + s.because + "; only IPv4 addresses inside IPv6 ones are left to it"
	case s.inside:
		return "matches nobody, as " + s.because + "; only what is added to a list at run time is left to it"
	}
	return "matches nobody, as " + s.because + "; only IPv4 addresses inside IPv6 ones, and what is added to a list at run time, are left to it"
}

// takes reports whether by has every address that m means, as far as that can
// be told, and whether that is any.
func (by reach) takes(m *matcher) bool {
	sets := m.sets()
	any := m.inside != nil
	for _, l := range m.lists {
		switch {
		case slices.Contains(by.lists, l) || by.takesAll():
			any = true
		case !l.fixed || l.Set().Len() > maxShown:
			return false
		default:
			sets = append(sets, l.Set())
		}
	}
	for _, s := range sets {
		for _, r := range s.Ranges() {
			if any = true; !within(r, by.direct, (*Set).Find) {
				return false
			}
		}
	}
	return any && !slices.ContainsFunc(m.inside, func(t insideTarget) bool { return !by.takesNamed(t) })
}

func (by reach) takesAll() bool { return within(all4, by.direct, (*Set).Find) && by.takesAll6() }

func (by reach) takesAll6() bool { return within(all6, by.direct, (*Set).Find) }

// takesNamed reports whether by has all that a "6rd:" or the like means.
func (by reach) takesNamed(t insideTarget) bool {
	r := RangeOf(t.prefix)
	return by.takesAll6() || within(r, by.inside, (*Set).findInside) ||
		slices.ContainsFunc(by.named, func(s insideTarget) bool {
			has := RangeOf(s.prefix)
			return s.by == t.by && (t.tunnel || !s.tunnel) && has.Contains(r.First) && has.Contains(r.Last)
		})
}

// takesInside reports whether by has every IPv6 address that m takes for the
// IPv4 address inside.
func (by reach) takesInside(m *matcher) bool {
	if !m.look || by.takesAll6() {
		return true
	}
	sets := []*Set{m.set}
	for _, l := range m.lists {
		if !slices.Contains(by.looked, l) {
			sets = append(sets, l.Set())
		}
	}
	for _, s := range sets {
		if s == nil {
			continue
		}
		for i := range s.v4.len() {
			if !within(s.v4.span(i).range4(), by.inside, (*Set).findInside) {
				return false
			}
		}
	}
	return true
}

// within reports whether the sets have all of r together. find gives the span
// of a set that has an address.
func within(r Range, sets []*Set, find func(*Set, Addr) (Range, bool)) bool {
	for {
		span, ok := Range{}, false
		for _, s := range sets {
			if span, ok = find(s, r.First); ok {
				break
			}
		}
		switch {
		case !ok:
			return false
		case span.Contains(r.Last):
			return true
		}
		r.First = Addr{span.Last.ip.Next()}
	}
}
