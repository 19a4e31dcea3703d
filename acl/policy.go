package acl

import (
	"strings"
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
	NAT64    []Prefix         // the operator's NAT64 prefixes, besides RFC 6052's and RFC 8215's
	SixRD    SixRD            // our own 6rd domain; zero: no tunnel, "6rd:" is an error
}

// Embedded says whether deny rules see the IPv4 address inside an IPv6 one.
type Embedded int

const (
	EmbeddedDeny Embedded = iota // they do; allow rules never
	EmbeddedOff                  // they do not
)

// A List is a named set of addresses that is replaced as a whole.
type List struct{ ranges []Range }

// Contains reports whether a is in the list.
func (l *List) Contains(a Addr) bool {
	for _, r := range l.ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// A Client is who asks to enter. The zero Client is denied.
type Client struct {
	Addr   Addr
	Tunnel bool // arrived through our own tunnel, which checked the outer source
}

// A Verdict is the answer to one client. The zero Verdict refuses.
type Verdict struct {
	Allow      bool
	Status     int           // for HTTP when !Allow: 403, or 429 where a gate refused
	RetryAfter time.Duration // for 429 by limit: when an attempt can pass again; else 0
	Rule       string        // the deciding rule as written; "" for the default
	Pos        Pos           // where it is written
	Why        string        // in words
}

// Release gives back what conns gates counted. It must be called once the
// connection has ended; calling it again, or on any other Verdict, does nothing.
func (v Verdict) Release() {}

// A Policy decides by rules in order. It is immutable and safe for concurrent
// use. A nil or zero Policy denies everybody.
type Policy struct {
	rules []rule
	all   bool
}

type rule struct {
	text   RuleText
	allow  bool
	ranges []Range
}

// AllowAll returns the Policy of an absent "access": everybody may enter.
func AllowAll() *Policy { return &Policy{all: true} }

// Compile reads rules. All mistakes are collected: the error is Errors. No
// rules at all is an error too; who wants none takes AllowAll.
func Compile(rules []RuleText, env Env) (*Policy, error) {
	var errs Errors
	p := &Policy{}
	for _, text := range rules {
		r := rule{text: text}
		words := strings.Fields(text.Text)
		if len(words) < 2 || words[0] != "allow" && words[0] != "deny" {
			errs = append(errs, &Error{text.Pos, text.Text, "a rule is \"allow TARGET…\" or \"deny TARGET…\""})
			continue
		}
		r.allow = words[0] == "allow"
		for _, w := range words[1:] {
			ranges, err := target(w, env)
			if err != nil {
				errs = append(errs, &Error{text.Pos, text.Text, err.(*ParseError).Msg})
			}
			r.ranges = append(r.ranges, ranges...)
		}
		p.rules = append(p.rules, r)
	}
	if errs != nil {
		return nil, errs
	}
	return p, nil
}

func target(w string, env Env) ([]Range, error) {
	v4 := RangeOf(mustPrefix("0.0.0.0/0"))
	v6 := RangeOf(mustPrefix("::/0"))
	switch l := env.Lists[w]; {
	case w == "all":
		return []Range{v4, v6}, nil
	case w == "ipv4":
		return []Range{v4}, nil
	case w == "ipv6":
		return []Range{v6}, nil
	case l != nil:
		return l.ranges, nil
	case strings.Contains(w, "-"):
		r, err := ParseRange(w)
		return []Range{r}, err
	}
	p, err := ParsePrefix(w)
	return []Range{RangeOf(p)}, err
}

func mustPrefix(s string) Prefix { p, _ := ParsePrefix(s); return p }

// Check decides for c and counts it at the gates.
func (p *Policy) Check(c Client) Verdict {
	switch {
	case p == nil || !c.Addr.IsValid():
		return Verdict{Status: 403, Why: "no policy or no address"}
	case p.all:
		return Verdict{Allow: true, Why: "no access rules: all may enter"}
	}
	for i := range p.rules {
		r := &p.rules[i]
		for _, x := range r.ranges {
			if x.Contains(c.Addr) {
				v := Verdict{Allow: r.allow, Rule: r.text.Text, Pos: r.text.Pos, Why: "matches " + x.String()}
				if !r.allow {
					v.Status = 403
				}
				return v
			}
		}
	}
	return Verdict{Status: 403, Why: "no rule matches: deny"}
}
