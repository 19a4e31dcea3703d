package config

import (
	"slices"
	"strconv"
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
	k := newChecker(r, &Config{File: pos.File, Forwards: []*Forward{&f}}, Options{})
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

// A QuickTunnel is a 6rd tunnel as the command line of "genkan tunnel up" gives it. The zero one is refused.
type QuickTunnel struct {
	Prefix      string   // the provider's 6rd prefix
	Relays      []string // its border relays, IPv4
	Local       string   // "": the source address towards the relay
	IPv4MaskLen int
	Interface   string // "": tun6rd
	DHCP        bool   // prefix, mask and relays are the lease's
	Datapath    string // "": auto
	Expose      string // "": listeners
}

// Plan checks and builds it, as Load does for a file. The error is of type Mistakes.
func (q QuickTunnel) Plan() (*Plan, error) {
	pos := acl.Pos{File: commandLine}
	r := newReport()
	r.begin(pos.File)
	d := &decoder{report: r}
	given := newTable(pos, "[tunnel]")
	add := func(key, s string) {
		if s != "" {
			given.add(&entry{key: key, pos: pos, val: &value{kind: text, pos: pos, text: s}})
		}
	}
	add("prefix", q.Prefix)
	add("local", q.Local)
	add("interface", q.Interface)
	add("datapath", q.Datapath)
	add("expose", q.Expose)
	relays := &value{kind: array, pos: pos}
	for _, s := range q.Relays {
		relays.items = append(relays.items, &value{kind: text, pos: pos, text: s})
	}
	given.add(&entry{key: "relays", pos: pos, val: relays})
	given.add(&entry{key: "dhcp", pos: pos, val: &value{kind: boolean, pos: pos, raw: strconv.FormatBool(q.DHCP)}})
	given.add(&entry{key: "ipv4_mask_len", pos: pos, val: &value{kind: integer, pos: pos, raw: strconv.Itoa(q.IPv4MaskLen)}})
	c := &Config{File: pos.File, Tunnel: &Tunnel{Pos: pos}}
	decode(d, given, tunnelFields(), c.Tunnel)
	plan := newChecker(r, c, Options{}).build()
	if err := r.err(); err != nil {
		return nil, err
	}
	return plan, nil
}
