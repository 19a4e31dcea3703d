package config

import (
	"slices"
	"strings"

	"genkan/acl"
)

// commandLine stands where an error names a file.
const commandLine = "command line"

// A Quick is one forward as the command line of "genkan forward" gives it. The zero Quick is refused.
type Quick struct {
	Listen, To     string
	Rules          []string // in order; none: all may enter
	Announce       []string // "proxy-v1" or "proxy-v2"; none: nothing
	AllowOpenRelay bool
}

// Plan checks and builds it, as Load does for a file. The error is of type Mistakes.
func (q Quick) Plan() (*Plan, error) {
	pos := acl.Pos{File: commandLine}
	r := newReport()
	r.begin(pos.File)
	f := Forward{service: service{
		Name: Text{"forward", pos}, Listen: []Text{{q.Listen, pos}}, To: []Text{{q.To, pos}},
		AllowOpenRelay: q.AllowOpenRelay, hasListen: true, hasTo: true, hasAccess: len(q.Rules) > 0,
	}}
	for _, rule := range q.Rules {
		f.Access = append(f.Access, Text{rule, pos})
	}
	if !slices.ContainsFunc(q.Rules, func(rule string) bool { return strings.HasPrefix(rule, "allow ") }) {
		f.Access = append(f.Access, Text{"allow all", pos}) // --deny alone takes some out of everybody
	}
	for _, a := range q.Announce {
		f.Announce = append(f.Announce, Text{a, pos})
	}
	k := &checker{r, &Config{File: pos.File, Forwards: []Forward{f}}, acl.NewLimits(0)}
	plan := k.build()
	plan.Proxy.StateDir = ""
	if len(r.mistakes) == 0 {
		k.parts(plan)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return plan, nil
}
