package acl

import "strings"

// A verb is the first word of a rule. The zero verb is deny.
type verb uint8

const (
	deny verb = iota
	allow
	limits
	conns
)

func (v verb) String() string {
	return [...]string{"deny", "allow", "limit", "conns"}[v]
}

func (v verb) usage() string {
	return [...]string{"\"deny TARGET…\"", "\"allow TARGET…\"",
		"\"limit N/T [per /LEN] [TARGET…]\"", "\"conns N [per /LEN] [TARGET…]\""}[v]
}

func (v verb) isGate() bool { return v >= limits }

// maxRules bounds one rule set; more clients than that belong into a list.
const maxRules = 1000

// Compile reads rules. All mistakes are collected: the error is Errors. No
// rules at all is an error too; who wants none takes AllowAll.
func Compile(rules []RuleText, env Env) (*Policy, error) {
	if len(rules) == 0 {
		return nil, Errors{{Msg: "empty; leave \"access\" out to allow all, or write [\"deny all\"]"}}
	}
	if len(rules) > maxRules {
		return nil, Errors{{rules[maxRules].Pos, rules[maxRules].Text, "more than 1000 rules; put the addresses into a list"}}
	}
	if env.Limits == nil {
		env.Limits = NewLimits(0)
	}
	p := &Policy{in: insides{env.NAT64, env.SixRD}, rules: make([]rule, 0, len(rules))}
	var errs Errors
	seen := map[string]int{}
	for _, text := range rules {
		r, g, mistakes := parseRule(text, &env)
		for _, err := range mistakes {
			errs = append(errs, &Error{text.Pos, text.Text, inRule(text.Text, err)})
		}
		if g != nil {
			g.identify(env.Scope, text.Text, seen[text.Text])
			seen[text.Text]++
			r.gate = len(p.gates)
			p.gates = append(p.gates, g)
			if len(p.gates) == maxGates+1 {
				errs = append(errs, &Error{text.Pos, text.Text, "more than 8 gates (limit, conns) in one access"})
			}
		}
		p.rules = append(p.rules, r)
	}
	if errs != nil {
		return nil, errs
	}
	p.counts = newTallies(len(p.rules) + 1)
	p.dropTiers()
	p.warnings = warn(p)
	return p, nil
}

// inRule is an error's message for a reader who sees the whole rule: which
// word is meant is said only where the rule has several.
func inRule(rule string, err error) string {
	pe := err.(*ParseError)
	if pe.Text == "" || len(strings.Fields(rule)) <= 2 {
		return pe.Msg
	}
	return pe.Error()
}

// parseRule reads one rule; the gate is nil for allow and deny.
func parseRule(text RuleText, env *Env) (r rule, g *gate, errs []error) {
	r.text = text
	if len(text.Text) > 64<<10 {
		return r, nil, []error{fail("", "too long; put the addresses into a list")}
	}
	words := strings.Fields(text.Text)
	v, err := parseVerb(words)
	if err != nil {
		return r, nil, []error{err}
	}
	r.verb = v
	words = words[1:]
	if v.isGate() {
		g, words, err = parseGate(v, words, env)
		if err != nil {
			return r, nil, []error{err}
		}
		if len(words) == 0 {
			words = []string{"all"}
		}
		g.targets = strings.Join(words, " ")
	}
	if len(words) == 0 {
		return r, nil, []error{fail("", "no target; write \"%s all\", or an address, prefix or list", v)}
	}
	r.matcher, errs = targets(words, v, env)
	return r, g, errs
}

func parseVerb(words []string) (verb, error) {
	if len(words) == 0 {
		return 0, fail("", "empty; a rule is \"allow TARGET…\", \"deny TARGET…\", \"limit N/T\" or \"conns N\"")
	}
	names := []string{"allow", "deny", "limit", "conns"}
	for _, v := range []verb{deny, allow, limits, conns} {
		if words[0] == v.String() {
			return v, nil
		}
	}
	msg := "a rule begins with allow, deny, limit or conns"
	if near := nearest(words[0], names); near != "" {
		msg += "; did you mean \"" + near + "\"?"
	}
	return 0, fail(words[0], "%s", msg)
}

// dropTiers takes implied tiers away where the operator has set that length
// by a gate of his own, with the same span of time and for the same clients.
func (p *Policy) dropTiers() {
	for _, g := range p.gates {
		for _, other := range p.gates {
			if g != other && g.window == other.window && (other.targets == "all" || other.targets == g.targets) {
				g.dropTier(other.length)
			}
		}
	}
}
