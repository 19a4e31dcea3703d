package acl

import (
	"net/http"
	"time"
)

// A question says what decide is asked for beside the client.
type question struct {
	count bool         // count at the gates
	skip  bool         // pass the gates unseen
	at    time.Time    // the moment for list entries that end; zero: now
	used  []GateUse    // how gates stand elsewhere
	asked *Explanation // takes every rule that was read; nil: nobody wants to know
}

// decide is the one place where verdicts are made, for the daemon and for
// explain alike.
func (p *Policy) decide(c Client, q question) Verdict {
	switch {
	case p == nil || !p.allowAll && len(p.rules) == 0:
		return Verdict{Status: http.StatusForbidden, Why: "there is no rule set"}
	case !c.Addr.IsValid():
		return Verdict{Status: http.StatusForbidden, Why: "there is no client address"}
	case p.allowAll:
		v := Verdict{Allow: true, Why: "there are no access rules"}
		if q.count {
			p.tally(0, &v)
		}
		return v
	}
	s := seeker{client: c, key: keyOf(c.Addr), in: &p.in}
	var got taken
	for i := range p.rules {
		r := &p.rules[i]
		h := r.match(&s, q.at)
		if !h.ok {
			q.note(r, "no match", "")
			continue
		}
		if !r.verb.isGate() {
			return p.conclude(i, r.verdict(h), got, &s, &q)
		}
		if q.skip {
			continue
		}
		v := p.ask(r, c.Addr, &got, &q)
		if !v.Allow {
			return p.conclude(i, v, got, &s, &q)
		}
	}
	v := Verdict{Status: http.StatusForbidden, Why: "no rule matches, and the default is deny"}
	return p.conclude(len(p.rules), v, got, &s, &q)
}

// statusGated is what HTTP answers where a gate refuses.
const statusGated = http.StatusTooManyRequests

// ask puts the client to a gate; the Verdict allows where reading goes on.
func (p *Policy) ask(r *rule, a Addr, got *taken, q *question) Verdict {
	g := p.gates[r.gate]
	if !q.count {
		return g.look(r, a, q)
	}
	ok, wait := g.take(a)
	if ok {
		*got |= 1 << r.gate
		return Verdict{Allow: true}
	}
	return g.refusal(r, wait)
}

func (g *gate) refusal(r *rule, wait time.Duration) Verdict {
	return Verdict{Status: statusGated, RetryAfter: wait, Rule: r.text.Text, Pos: r.text.Pos, Why: g.refuse}
}

// verdict is what an allow or deny rule says.
func (r *rule) verdict(h hit) Verdict {
	v := Verdict{Rule: r.text.Text, Pos: r.text.Pos, Why: "the address matches"}
	if h.in.by != 0 {
		v.Why = "the IPv4 address inside matches"
	}
	if r.verb == allow {
		v.Allow = true
		return v
	}
	v.Status = http.StatusForbidden
	return v
}

// conclude settles the gates' counts of a decision by rule i.
func (p *Policy) conclude(i int, v Verdict, got taken, s *seeker, q *question) Verdict {
	if q.asked != nil {
		v.Why = p.detail(i, v, s, q)
	}
	if q.count {
		p.tally(i, &v)
	}
	if got == 0 {
		return v
	}
	if !v.Allow {
		p.untake(s.client.Addr, got)
		return v
	}
	if conns := got & p.connGates(); conns != 0 {
		v.held = &held{policy: p, addr: s.client.Addr, taken: conns}
	}
	return v
}

// untake gives back what gates have counted.
func (p *Policy) untake(a Addr, got taken) {
	for i, g := range p.gates {
		if got&(1<<i) != 0 {
			g.untake(a)
		}
	}
}

// connGates is the gates whose counts end with the connection.
func (p *Policy) connGates() (c taken) {
	for i, g := range p.gates {
		if g.window == 0 {
			c |= 1 << i
		}
	}
	return c
}
