package config

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"genkan/acl"
	"genkan/proxy"
	"genkan/tunnel"
)

// A checker judges values by one another, after each has been read by itself.
type checker struct {
	*report
	c       *Config
	limits  *acl.Limits
	log     *slog.Logger
	stands  *tunnel.Config // the tunnel that stands, with what was found out; nil: none is known
	sources []source       // the lists of files
	named   map[string]*acl.List
	chosen  Mistakes         // no mistakes: what presets have chosen
	told    map[acl.Pos]bool // destinations of logs that were reported
}

func newChecker(r *report, c *Config, opt Options) *checker {
	if opt.Limits == nil {
		opt.Limits = acl.NewLimits(0)
	}
	return &checker{report: r, c: c, limits: opt.Limits, log: opt.Log, stands: opt.Stands, named: make(map[string]*acl.List), told: make(map[acl.Pos]bool)}
}

// A place is one listener of one service.
type place struct {
	proxy.Listen
	pos     acl.Pos
	service string
	site    *proxy.Site    // one of the two is set
	forward *proxy.Forward //
}

// names reports names that are given twice. Sites and forwards share one set, as "genkan explain NAME" finds either.
func (k *checker) names() {
	seen := make(map[string]acl.Pos)
	for _, name := range k.serviceNames() {
		if first, twice := seen[name.S]; twice {
			k.mistake(name.Pos, "the name %q is given twice, first at %s; choose another, no site and no forward may share one", name.S, first)
			continue
		}
		seen[name.S] = name.Pos
	}
	lists := make(map[[2]string]acl.Pos) // by file and name: lists are local to their file
	for _, l := range k.c.Lists {
		lists[[2]string{l.Name.Pos.File, l.Name.S}] = l.Name.Pos
	}
	for _, l := range k.c.Lists {
		first, twice := lists[[2]string{k.c.File, l.Name.S}]
		if twice && first != l.Name.Pos {
			k.mistake(l.Name.Pos, "list %q is given twice, first at %s; choose another name", l.Name.S, first)
		}
	}
}

// serviceNames are the names of all sites and forwards in the order of files and lines.
func (k *checker) serviceNames() []Text {
	var names []Text
	for _, s := range k.c.Sites {
		names = append(names, s.Name)
	}
	for _, f := range k.c.Forwards {
		names = append(names, f.Name)
	}
	slices.SortStableFunc(names, func(a, b Text) int { return k.compare(a.Pos, b.Pos) })
	return names
}

// tunnel checks what [tunnel] needs by its kind, where the values stand alone the tunnel itself does it.
func (k *checker) tunnel() {
	t := k.c.Tunnel
	if t == nil || k.anyDamage() {
		return
	}
	sixRD := t.Kind != "6in4"
	need := func(given bool, key, write string) {
		switch {
		case given:
		case k.c.File == commandLine:
			k.mistake(t.Pos, "--%s is missing; write %s", strings.TrimSuffix(key, "s"), strings.NewReplacer("[", "", "]", "").Replace(write))
		default:
			k.mistake(t.Pos, "[tunnel] has no %s; write %s = %s", key, key, write)
		}
	}
	refuse := func(given bool, key, kind string) {
		if given {
			k.mistake(t.Pos, "[tunnel] %s is for kind = %q only; leave it out", key, kind)
		}
	}
	need(!sixRD || t.DHCP || t.Prefix.Pos != (acl.Pos{}), "prefix", `"2001:e41::/32", your provider's 6rd prefix`)
	need(!sixRD || t.DHCP || len(t.Relays) > 0 || t.Role == "relay", "relays", `["61.211.224.125"], your provider's border relay`)
	need(t.Role != "relay" || t.Local.IsValid(), "local", `"192.0.2.1", the relay's own IPv4 address`)
	need(sixRD || t.Remote.IsValid(), "remote", `"198.51.100.1", the broker's IPv4 address`)
	need(sixRD || t.Address.Given(), "address", `"2001:db8:100::2/64", ours on the link`)
	refuse(sixRD && t.Remote.IsValid(), "remote", "6in4")
	refuse(sixRD && t.Address.Given(), "address", "6in4")
	refuse(sixRD && len(t.Routed) > 0, "routed", "6in4")
	refuse(!sixRD && t.Prefix.Pos != (acl.Pos{}), "prefix", "6rd")
	if p := t.Prefix; p.IsValid() && p.Is4() {
		k.mistake(p.Pos, "prefix %q: this is IPv4; write your provider's 6rd prefix, as \"2001:e41::/32\"", p)
	}
}

// listens reads the listeners of a service.
func (k *checker) listens(s *service, what string) []proxy.Listen {
	var all []proxy.Listen
	for _, t := range s.Listen {
		l, err := proxy.ParseListen(t.S)
		switch {
		case err != nil:
			k.mistake(t.Pos, "listen %v", err)
			continue
		case l.Tunnel && k.c.Tunnel == nil && !k.damaged[k.c.File]:
			k.mistake(t.Pos, "listen %q: there is no tunnel; write [tunnel] with prefix and relays, or an address in place of \"tunnel\"", t.S)
			continue
		case what == "site" && l.Network == "udp":
			k.mistake(t.Pos, "listen %q: a site is HTTP over TCP; leave udp/ out, or make it a [forward]", t.S)
			continue
		case slices.Contains(all, l):
			k.mistake(t.Pos, "listen %q stands twice in this %s; write it once", t.S, what)
			continue
		}
		all = append(all, l)
	}
	if (!s.hasListen || s.Listen != nil && len(s.Listen) == 0) && !k.damaged[s.Name.Pos.File] {
		k.mistake(s.Name.Pos, "%s %q has no listen; write listen = \"tunnel:80\", or which port it is", what, s.Name.S)
	}
	return all
}

// backends reads to.
func (k *checker) backends(s *service, what string) []proxy.Backend {
	var all []proxy.Backend
	for _, t := range s.To {
		if hp, err := acl.ParseHostPort(t.S); err == nil && hp.Addr.Is6() {
			k.mistake(t.Pos, "to %q: this is IPv6, and servers behind Genkan are IPv4 only; write the server's IPv4 address, as \"10.0.0.10:%d\"", t.S, hp.Port)
			continue
		}
		b, err := proxy.ParseBackend(t.S)
		if err != nil {
			k.mistake(t.Pos, "to %v", err)
			continue
		}
		if !k.mayDial(b) {
			k.mistake(t.Pos, "to %q: outside of backends (%s); write its network there too", t.S, k.c.Backends[0].Pos)
		}
		all = append(all, b)
	}
	if (!s.hasTo || s.To != nil && len(s.To) == 0) && !s.noTo && !k.damaged[s.Name.Pos.File] {
		k.mistake(s.Name.Pos, "%s %q has no to; write to = \"10.0.0.10:80\", the server behind", what, s.Name.S)
	}
	return all
}

// mayDial reports whether backends = [...] has the address of a backend; names are judged when they are dialled.
func (k *checker) mayDial(b proxy.Backend) bool {
	if len(k.c.Backends) == 0 || !b.Addr.IsValid() {
		return true
	}
	return slices.ContainsFunc(k.c.Backends, func(p Prefix) bool { return p.Contains(b.Addr) })
}

// announces reads announce, and judges it for what carries it.
func (k *checker) announces(s *service, words ...string) []string {
	if s.Announce == nil {
		return nil
	}
	all := []string{}
	for _, t := range s.Announce {
		if !slices.Contains(words, t.S) {
			if near := DidYouMean(t.S, words); near != "" {
				k.mistake(t.Pos, "announce: unknown value %s; did you mean %q?", quote(t.S), near)
			} else {
				k.mistake(t.Pos, "announce: unknown value %s; write %s", quote(t.S), oneOf(words))
			}
			continue
		}
		all = append(all, t.S)
	}
	return all
}

// source reads source and the pool that it names, and checks that there is one.
func (k *checker) source(s *service) (proxy.Source, string) {
	pool, named := "default", false
	source := proxy.SourceOwn
	switch t := s.Source; {
	case t.S == "" || t.S == "own":
		return source, ""
	case t.S == "transparent" && k.hasPool(pool): // for IPv6 clients
		return proxy.SourceTransparent, pool
	case t.S == "transparent":
		return proxy.SourceTransparent, ""
	case t.S == "pool":
	default:
		if pool, named = strings.CutPrefix(t.S, "pool:"); !named {
			k.mistake(t.Pos, "source: unknown value %s; write \"own\", \"pool\", \"pool:NAME\" or \"transparent\"", quote(t.S))
			return source, ""
		}
	}
	k.needPool(s.Source.Pos, fmt.Sprintf("source %q", s.Source.S), pool)
	return proxy.SourcePool, pool
}

func (k *checker) needPool(pos acl.Pos, why, pool string) {
	if !k.hasPool(pool) && !k.damaged[k.c.File] {
		k.mistake(pos, "%s: there is no pool %q; write [%s] with prefix = \"100.64.0.0/16\"", why, pool, writeKey([]string{"pool", pool}))
	}
}

func (k *checker) hasPool(name string) bool {
	return slices.ContainsFunc(k.c.Pools, func(p Pool) bool { return p.Name.S == name })
}

// policy compiles access with what its file can see.
func (k *checker) policy(s *service, env acl.Env) *acl.Policy {
	if !s.hasAccess {
		return acl.AllowAll()
	}
	rules := make([]acl.RuleText, len(s.Access))
	for i, t := range s.Access {
		rules[i] = acl.RuleText{Text: t.S, Pos: t.Pos}
	}
	if len(rules) == 0 {
		return nil // what was written could not be read, and has been reported
	}
	env.Scope = s.Name.S
	policy, err := acl.Compile(rules, env)
	var many acl.Errors
	switch {
	case errors.As(err, &many):
		for _, e := range many {
			k.mistake(e.Pos, "access %s: %s", quote(e.Text), e.Msg)
		}
		return nil
	case err != nil:
		k.mistake(s.Name.Pos, "access: %v", err)
		return nil
	}
	for _, w := range policy.Warnings() {
		k.warn(w.Pos, "access %s: %s", quote(w.Text), w.Msg)
	}
	return policy
}

// relative finds a file that a configuration file names.
func relative(t Text) string {
	if t.S == "" || filepath.IsAbs(t.S) {
		return t.S
	}
	return filepath.Join(filepath.Dir(t.Pos.File), t.S)
}
