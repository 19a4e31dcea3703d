package config

import "genkan/acl"

// A Config is one whole configuration: its file and what that includes, each value with its place,
// not yet checked against one another. The zero Config serves nothing.
type Config struct {
	File string // the file that was named

	Include     []Text   // globs, relative to File
	Embedded    string   // "deny" (default) or "off": whether deny rules look at the IPv4 inside an IPv6 address
	NAT64       []Prefix // the operator's NAT64 prefixes
	Backends    []Prefix // the only networks that may be dialled; nil: all IPv4 but our own
	Underscores string   // underscore_headers
	ByPort      bool     // transparent_by = "port": answers are found by the backend's port, not by our sockets
	MaxConns    int      // client connections at once; 0: 65536
	StateDir    Text     // what survives a restart; not given: /var/lib/genkan
	Watch       bool     // reload when a file changes
	User        Text     // to become when root has started it
	Timeouts    Timeouts
	Limits      Limits
	Tunnel      *Tunnel // nil: there is none
	Admin       *Admin  // nil: nowhere
	ACME        *ACME   // nil: what holds without it
	Log         Log
	Lists       []List
	Sites       []*Site
	Forwards    []*Forward
	Listeners   []Listener
	Pools       []Pool

	hasBackends bool
}

// A Prefix is an address prefix with its place.
type Prefix struct {
	acl.Prefix
	Pos acl.Pos
}

// partialFields are the keys that an included file may have too.
func partialFields() []field[Config] {
	site, forward := siteFields(), forwardFields() // once for all that there are
	return []field[Config]{
		{"site", `[site."www.example.jp"]`, "one HTTP service each, found by Host",
			func(d *decoder, c *Config, v *value) {
				c.Sites = append(c.Sites, tables(d, v, func(name Text, t *table) *Site {
					s := &Site{service: service{Name: name}}
					decode(d, t, site, s)
					return s
				})...)
			}},
		{"forward", `[forward.ssh]`, "one TCP or UDP service each, found by its port",
			func(d *decoder, c *Config, v *value) {
				c.Forwards = append(c.Forwards, tables(d, v, func(name Text, t *table) *Forward {
					f := &Forward{service: service{Name: name}}
					decode(d, t, forward, f)
					return f
				})...)
			}},
		{"lists", `[lists]`, "named lists of addresses, for access",
			func(d *decoder, c *Config, v *value) { c.Lists = append(c.Lists, d.lists(v)...) }},
	}
}

// fields are the keys of the main file.
func fields() []field[Config] {
	return append([]field[Config]{
		{"include", `["sites/*.toml"]`, "further files, one a customer: only [site], [forward] and [lists] in there",
			func(d *decoder, c *Config, v *value) { c.Include = d.texts(v) }},
		{"embedded", `"deny"`, "whether deny rules on IPv4 also see the IPv4 inside IPv6 addresses: \"deny\" (default) or \"off\"",
			func(d *decoder, c *Config, v *value) { c.Embedded = d.choice(v, "deny", "off") }},
		{"nat64", `["64:ff9b::/96"]`, "your own NAT64 prefixes",
			func(d *decoder, c *Config, v *value) { c.NAT64 = d.prefixes(v) }},
		{"backends", `["10.0.0.0/24"]`, "the only networks that may be dialled",
			func(d *decoder, c *Config, v *value) { c.hasBackends = true; c.Backends = d.prefixes(v) }},
		{"transparent_by", `"socket"`, "how answers to source = \"transparent\" come back: of our own \"socket\"s (default), or all from a backend's \"port\"",
			func(d *decoder, c *Config, v *value) { c.ByPort = d.choice(v, "socket", "port") == "port" }},
		{"underscore_headers", `"drop"`, "what becomes of request headers that a CGI server reads as one of ours, such as X_Forwarded_For: \"drop\" (default), \"reject\" the request, or \"pass\"",
			func(d *decoder, c *Config, v *value) { c.Underscores = d.choice(v, "drop", "reject", "pass") }},
		{"max_conns", `65536`, "client connections at once, over all listeners; without it, what the limit of descriptors allows, of which the last 24 are never a client's",
			func(d *decoder, c *Config, v *value) { c.MaxConns = d.number(v, 1, 1<<22) }},
		{"watch", `true`, "reloads when one of these files changes; without it genkan reload and SIGHUP do",
			func(d *decoder, c *Config, v *value) { c.Watch = d.boolean(v) }},
		{"user", `"genkan"`, "whom the process becomes when root starts it, with the capabilities that it needs; it stays root without it",
			func(d *decoder, c *Config, v *value) { c.User = d.text(v) }},
		{"state_dir", `"/var/lib/genkan"`, "where is kept what survives a restart",
			func(d *decoder, c *Config, v *value) { c.StateDir = d.text(v) }},
		{"timeouts", `[timeouts]`, "the bounds of every wait",
			func(d *decoder, c *Config, v *value) { sub(d, v, timeoutFields(), &c.Timeouts) }},
		{"limits", `[limits]`, "what HTTP clients may do, and what all may use; a restart changes them",
			func(d *decoder, c *Config, v *value) { sub(d, v, limitFields(), &c.Limits) }},
		{"tunnel", `[tunnel]`, "the 6rd tunnel; leave it out where the host already has IPv6",
			func(d *decoder, c *Config, v *value) {
				c.Tunnel = &Tunnel{Pos: v.pos}
				if sub(d, v, tunnelFields(), c.Tunnel) {
					c.Tunnel.Pos = v.table.pos
				}
			}},
		{"admin", `[admin]`, "where the state and the metrics can be looked at; nowhere without it",
			func(d *decoder, c *Config, v *value) {
				c.Admin = &Admin{Pos: v.pos}
				if sub(d, v, adminFields(), c.Admin) {
					c.Admin.Pos = v.table.pos
				}
			}},
		{"acme", `[acme]`, "certificates that come by themselves; without it from Let's Encrypt, where a site listens on port 443",
			func(d *decoder, c *Config, v *value) {
				c.ACME = &ACME{Pos: v.pos}
				if sub(d, v, acmeFields(), c.ACME) {
					c.ACME.Pos = v.table.pos
				}
			}},
		{"log", `[log]`, "the access log of all sites and forwards that say nothing else",
			func(d *decoder, c *Config, v *value) { sub(d, v, logFields(), &c.Log) }},
		{"listener", `[listener."tunnel:25"]`, "what sites and forwards on one listener share",
			func(d *decoder, c *Config, v *value) {
				c.Listeners = tables(d, v, func(name Text, t *table) Listener {
					l := Listener{Listen: name}
					decode(d, t, listenerFields(), &l)
					return l
				})
			}},
		{"pool", `[pool.default]`, "private IPv4 addresses that stand for IPv6 clients",
			func(d *decoder, c *Config, v *value) {
				c.Pools = tables(d, v, func(name Text, t *table) Pool {
					p := Pool{Name: name}
					decode(d, t, poolFields(), &p)
					return p
				})
			}},
	}, partialFields()...)
}

// prefixes reads a list of prefixes through acl's door.
func (d *decoder) prefixes(v *value) []Prefix {
	all := []Prefix{}
	for _, t := range d.texts(v) {
		p, err := acl.ParsePrefix(t.S)
		if err != nil {
			d.mistake(t.Pos, "%s %v", d.key, err)
			continue
		}
		all = append(all, Prefix{p, t.Pos})
	}
	return all
}

// prefix reads one prefix.
func (d *decoder) prefix(v *value) Prefix {
	t := d.text(v)
	if !t.Given() {
		return Prefix{}
	}
	p, err := acl.ParsePrefix(t.S)
	if err != nil {
		d.mistake(t.Pos, "%s %v", d.key, err)
	}
	return Prefix{p, t.Pos}
}

// addr4 reads one IPv4 address.
func (d *decoder) addr4(t Text) acl.Addr {
	a, err := acl.ParseAddr(t.S)
	switch {
	case err != nil:
		d.mistake(t.Pos, "%s %v", d.key, err)
	case !a.Is4():
		d.mistake(t.Pos, "%s %q: this is IPv6; write an IPv4 address, as %s", d.key, t.S, d.write)
	default:
		return a
	}
	return acl.Addr{}
}
