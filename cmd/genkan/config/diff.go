package config

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"genkan/acl"
)

// startParts has parts written out on another core, from when on nothing changes in c.
func (c *Config) startParts() <-chan map[string]string {
	all := make(chan map[string]string)
	go func() { all <- c.parts() }()
	return all
}

// parts writes each named part of a configuration out, without the places, so that two can be compared.
func (c *Config) parts() map[string]string {
	all := make(map[string]string, len(c.Sites)+len(c.Forwards)+len(c.Lists)+len(c.Listeners)+len(c.Pools)+8)
	maps.Copy(all, map[string]string{
		"what stands above the first header": fmt.Sprint(c.Embedded, spellPrefixes(c.NAT64), spellPrefixes(c.Backends), c.MaxConns, c.StateDir, c.Watch, c.User, c.ByPort, c.Underscores),
		"[timeouts]":                         fmt.Sprint(c.Timeouts),
		"[limits]":                           fmt.Sprint(c.Limits),
	})
	if t := c.Tunnel; t != nil {
		plain := *t
		plain.Pos, plain.Prefix.Pos, plain.Routed, plain.DNSUpdate = acl.Pos{}, acl.Pos{}, nil, nil
		all["[tunnel]"] = fmt.Sprint(plain, spellPrefixes(t.Routed))
		if u := t.DNSUpdate; u != nil {
			all["[tunnel.dns_update]"] = fmt.Sprint(u.Server, u.Key, u.Names, u.PTR, u.TTL)
		}
	}
	if c.Log != (Log{}) {
		all["[log]"] = fmt.Sprint(c.Log)
	}
	if c.Admin != nil {
		all["[admin]"] = c.Admin.Listen.S
	}
	if c.ACME != nil {
		acme := *c.ACME
		acme.Pos = acl.Pos{}
		all["[acme]"] = fmt.Sprint(acme)
	}
	for _, s := range c.Sites {
		all["site "+quote(s.Name.S)] = digest(*s)
	}
	for _, f := range c.Forwards {
		all["forward "+quote(f.Name.S)] = digest(*f)
	}
	for _, l := range c.Lists {
		name := "list " + quote(l.Name.S)
		if l.Name.Pos.File != c.File {
			name += " of " + l.Name.Pos.File
		}
		all[name] = fmt.Sprint(l)
	}
	for _, l := range c.Listeners {
		all["listener "+quote(l.Listen.S)] = fmt.Sprint(spellPrefixes(l.AcceptProxy), l.TLS)
	}
	for _, p := range c.Pools {
		all["pool "+quote(p.Name.S)] = fmt.Sprint(p.Prefix.Prefix, p.Quarantine, p.Per48)
	}
	return all
}

// digest stands for what a part says: there may be many.
func digest(part any) string {
	h := sha256.New()
	fmt.Fprint(h, part)
	return string(h.Sum(nil))
}

// String gives the text alone: two configurations are the same wherever it stands.
func (t Text) String() string { return t.S }

func spellPrefixes(ps []Prefix) []string {
	var all []string
	for _, p := range ps {
		all = append(all, p.String())
	}
	return all
}

// Diff says what changes from one plan to the other, one part a line: "+" comes, "-" goes, "~" differs.
func (p *Plan) Diff(next *Plan) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(p.parts)) {
		switch text, stays := next.parts[name]; {
		case !stays:
			lines = append(lines, "- "+name)
		case text != p.parts[name]:
			lines = append(lines, "~ "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(next.parts)) {
		if _, was := p.parts[name]; !was {
			lines = append(lines, "+ "+name)
		}
	}
	return lines
}
