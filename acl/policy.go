package acl

import (
	"sync/atomic"
	"time"
)

// A RuleText is one rule as the operator wrote it.
type RuleText struct {
	Text string
	Pos  Pos
}

// An Env is what rules may refer to. The zero Env has no lists, no 6rd domain
// and looks inside IPv6 addresses for deny rules.
type Env struct {
	Lists    map[string]*List // by the name that rules use
	Embedded Embedded         // zero: EmbeddedDeny
	NAT64    []Prefix         // of ParseNAT64: the operator's, besides 64:ff9b::/96 and 64:ff9b:1::/48
	SixRD    SixRD            // our own 6rd domain; zero: no tunnel, "6rd:" is an error
	Limits   *Limits          // the gates' counters; nil: some of the policy's own
	Scope    string           // tells equal rules of two sites apart in Limits: the site's name
}

// Embedded says whether deny rules see the IPv4 address inside an IPv6 one.
type Embedded int

const (
	EmbeddedDeny Embedded = iota // they do; allow rules never
	EmbeddedOff                  // they do not
)

// A Client is who asks to enter. The zero Client is denied.
type Client struct {
	Addr   Addr
	Tunnel bool // arrived through our own tunnel, which checked the outer source
}

// A Verdict is the answer to one client. The zero Verdict refuses.
type Verdict struct {
	Allow      bool
	Status     int           // for HTTP: 403, or 429 where a gate refused; 0 when allowed
	RetryAfter time.Duration // with 429 of a limit: when an attempt can pass again; else 0
	Rule       string        // the deciding rule as written; "" where no rule decided
	Pos        Pos           // where it is written
	Why        string        // in words
	held       *held
}

// Release gives back what conns gates counted. It must be called once the
// connection (or the request of a site) has ended; calling it again, or on any
// other Verdict, does nothing.
func (v Verdict) Release() {
	if v.held != nil && v.held.released.CompareAndSwap(false, true) {
		v.held.policy.untake(v.held.addr, v.held.taken)
	}
}

// held is what a Verdict has to give back.
type held struct {
	policy   *Policy
	addr     Addr
	taken    taken
	released atomic.Bool
}

// taken is the gates that counted an attempt, a bit for each.
type taken uint8

// A Policy decides by rules in order; the first allow or deny that matches
// decides, and no match is deny. It is immutable, apart from counters,
// and safe for concurrent use. A nil or zero Policy denies everybody.
type Policy struct {
	rules    []rule
	gates    []*gate
	in       insides
	allowAll bool
	counts   []*tallies // one a rule, and the default's
	warnings []Warning
}

// A rule is one line of a Policy.
type rule struct {
	text RuleText
	verb verb
	matcher
	gate int // index into Policy.gates
}

// AllowAll returns the Policy of an absent "access": everybody may enter.
func AllowAll() *Policy { return &Policy{allowAll: true, counts: newTallies(1)} }

// Check decides for c and counts c at the gates on the way, and the verdict in
// Tallies. An attempt that a later rule refuses counts at no gate. It does not
// allocate, unless a
// conns gate has something to give back.
func (p *Policy) Check(c Client) Verdict { return p.decide(c, question{count: true}) }

// Recheck decides for a client of whom it is not known how the gates stand, as
// of a log: they are skipped, and nothing is counted.
func (p *Policy) Recheck(c Client) Verdict { return p.decide(c, question{skip: true}) }
