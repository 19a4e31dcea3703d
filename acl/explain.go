package acl

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// An Explanation is a Verdict with the way to it.
type Explanation struct {
	Client   Client
	Embedded []Embedding // what is inside the address
	Steps    []Step      // every rule that was read, in order; the last decides
	Verdict  Verdict
	List     *List // by which the last rule decided; nil: by no list
	Listed   Addr  // what of the client is in there: its address, or the IPv4 address inside
}

// A Step is one rule as it was read.
type Step struct {
	Rule   string `json:"rule"` // "" for the default
	Pos    Pos    `json:"-"`
	Result string `json:"result"` // "no match", "passes" (a gate below its bound), "allow", "deny"
	Why    string `json:"why,omitempty"`
}

// A GateUse is how a gate stands for one client.
type GateUse struct {
	ID     uint64 // the same in every process for an equal rule at the same place
	Rule   string // as written
	Pos    Pos
	Levels []LevelUse // the narrowest first
}

// A LevelUse is what counts under one of the prefixes that have a client.
type LevelUse struct {
	Prefix     string // the address itself for IPv4
	Used, Most int
}

// Gates tells how all gates stand for a client, without counting.
func (p *Policy) Gates(a Addr) []GateUse {
	var all []GateUse
	if p == nil || !a.IsValid() {
		return nil
	}
	for i := range p.rules {
		if r := &p.rules[i]; r.verb.isGate() {
			g := p.gates[r.gate]
			all = append(all, GateUse{g.id, r.text.Text, r.text.Pos, g.levels(a)})
		}
	}
	return all
}

// Explain decides as Check does and says how. It counts nothing; gates are seen
// as they stand, those in used as they stand in the process that gave it. at is
// the moment for list entries that end; zero: now.
func (p *Policy) Explain(c Client, at time.Time, used []GateUse) Explanation {
	e := Explanation{Client: c}
	e.Verdict = p.decide(c, question{at: at, used: used, asked: &e})
	if p != nil {
		e.Embedded = Env{NAT64: p.in.nat64, SixRD: p.in.sixrd}.Embeddings(c.Addr)
	}
	return e
}

// note records a step, if anybody wants it.
func (q *question) note(r *rule, result, why string) {
	if q.asked != nil {
		q.asked.Steps = append(q.asked.Steps, Step{r.text.Text, r.text.Pos, result, why})
	}
}

// look is ask that counts nothing.
func (g *gate) look(r *rule, a Addr, q *question) Verdict {
	levels := g.levels(a)
	if i := slices.IndexFunc(q.used, func(u GateUse) bool { return u.ID == g.id && len(u.Levels) > 0 }); i >= 0 {
		levels = q.used[i].Levels
	}
	l := slices.MaxFunc(levels, func(a, b LevelUse) int { return cmp.Compare(a.Used*b.Most, b.Used*a.Most) })
	use := fmt.Sprintf("%d of %d used by %s", l.Used, l.Most, l.Prefix)
	if l.Used >= l.Most {
		v := g.refusal(r, 0)
		v.Why += ": " + use // one who never came can be refused with his whole /48
		return v
	}
	q.note(r, "passes", use)
	return Verdict{Allow: true}
}

// detail says in words why rule i decided, and records the last step.
func (p *Policy) detail(i int, v Verdict, s *seeker, q *question) string {
	result := "deny"
	if v.Allow {
		result = "allow"
	}
	why, text := v.Why, RuleText{}
	if i < len(p.rules) {
		r := &p.rules[i]
		text = r.text
		if v.Status != statusGated {
			why = r.describe(s, q)
		}
	}
	q.asked.Steps = append(q.asked.Steps, Step{text.Text, text.Pos, result, why})
	return why
}

// describe says what in the rule matched: the family, the span of a prefix or
// range, the list, and through which mechanism.
func (r *rule) describe(s *seeker, q *question) string {
	a := s.client.Addr
	if h := r.match(s, q.at); h.in.by != 0 {
		found := addr4(h.in.v4)
		why := fmt.Sprintf("%s has %s inside (%s), which ", a, found, h.in.by)
		if span, ok := r.set.findInside(found); ok && r.look {
			return why + "is in " + span.Short()
		}
		if in := r.describeList(func(l *List) bool { return r.look && l.containsInside(h.in.v4, q.at) }, found, q); in != "" {
			return why + in
		}
		return why + "matches"
	}
	if span, ok := r.set.Find(a); ok {
		return fmt.Sprintf("%s is in %s", a, span.Short())
	}
	if in := r.describeList(func(l *List) bool { return l.Contains(a, q.at) }, a, q); in != "" {
		return fmt.Sprintf("%s %s", a, in)
	}
	return fmt.Sprintf("%s is %s", a, familyName(a))
}

// describeList says in which list an address is, and notes it; "" for none.
func (r *rule) describeList(has func(*List) bool, a Addr, q *question) string {
	i := slices.IndexFunc(r.lists, has)
	if i < 0 {
		return ""
	}
	q.asked.List, q.asked.Listed = r.lists[i], a
	return fmt.Sprintf("is in list %q%s", r.listNames[i], r.lists[i].where(a, q.at))
}

// where says which part of the list has a.
func (l *List) where(a Addr, at time.Time) string {
	if span, ok := l.Set().Find(a); ok {
		return " as " + span.Short()
	}
	if at.IsZero() {
		at = time.Now()
	}
	for _, e := range l.Entries() {
		if e.Alive(at) && e.Range.Contains(a) {
			if e.Until.IsZero() {
				return ", added at run time as " + e.Range.Short()
			}
			return ", added at run time as " + e.Range.Short() + " until " + e.Until.UTC().Format(time.RFC3339)
		}
	}
	return ""
}

func familyName(a Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
