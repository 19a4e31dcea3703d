package config

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"genkan/acl"
	"genkan/acl/list"
	"genkan/proxy"
	"genkan/proxy/message"
	"genkan/tunnel"
)

// A Plan is a configuration without mistakes, in the terms of the parts that carry it out.
type Plan struct {
	File        string         // the file that was named
	Sources     []Source       // it, and those that it includes, as they were read
	IncludeFrom []string       // the folders that include looks into
	Watch       bool           // it is read again when one of them changes
	User        string         // who the process becomes when root has started it; "": it stays root
	Tunnel      *tunnel.Config // nil: none
	Proxy       proxy.Config   // Tunnel and TunnelInterface are filled in once the tunnel stands
	Env         acl.Env        // what rules of the main file may refer to
	Warnings    Mistakes       // what is doubtful, in the order of files and lines
	Chosen      Mistakes       // no mistakes: what presets have chosen, in the order of files and lines
	Admin       netip.AddrPort // of the metrics; invalid: nowhere
	DNS         *DNSRecords    // what follows the tunnel's address; nil: nothing
	Lists       *list.Files    // the lists that files fill, read and not watched yet

	parts    map[string]string    // what Diff compares
	paths    map[*acl.List]string // of the lists that files fill
	routePos map[string]acl.Pos   // of each route, by its site's name and its path
	Named    map[string]*acl.List // every list: those of the main file by name, others as "FILE:NAME", FILE from its folder
}

// Options are what a configuration goes on with in a running Genkan. The zero Options suit a look at it.
type Options struct {
	Limits *acl.Limits // the counters before a reload; nil: new ones
	// Stands is the tunnel that stands, with our IPv4 address and what DHCP gave: rules on 6rd addresses need both. nil:
	// not known. With dhcp = true such rules then match nobody.
	Stands *tunnel.Config
	Log    *slog.Logger // of what happens to list files later; nil discards
	// Unjudged leaves out what only the proxy can say of a plan, for who gives it to the proxy at once, and then asks Judge.
	Unjudged bool
}

// Load reads, checks and builds the configuration in a file. It touches neither the network nor the host, and
// reads only the files that the configuration names. The error is of type Mistakes.
func Load(file string, opt Options) (*Plan, error) {
	r := newReport()
	plan := planOf(r, file, opt)
	if len(r.mistakes) == 0 && !opt.Unjudged {
		judge(r, plan)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	plan.Sources, plan.IncludeFrom = r.sources, r.folders
	plan.Warnings = r.sorted(r.warnings)
	return plan, nil
}

// planOf reads and builds a file. What was read is not needed any more when it returns, and is the larger part of the memory
// that ten thousand sites take on their way.
func planOf(r *report, file string, opt Options) *Plan {
	k := newChecker(r, read(r, file), opt)
	plan := k.build()
	plan.Chosen = r.sorted(k.chosen)
	return plan
}

// Judge says what the proxy has against a plan that was loaded unjudged, as Load does.
func (p *Plan) Judge() error {
	r := newReport()
	judge(r, p)
	return r.err()
}

// judge is parts for a plan of planOf. Where a mistake stands is looked for only when there is one.
func judge(r *report, plan *Plan) {
	err := judgeOf(plan)
	if err == nil {
		return
	}
	again := newReport()
	newChecker(r, read(again, plan.File), Options{}).place(err)
}

// parts lets the proxy judge its part of a plan, for what only it knows. It opens nothing.
func (k *checker) parts(plan *Plan) {
	if err := judgeOf(plan); err != nil {
		k.place(err)
	}
}

// judgeOf is what the proxy says to a plan.
func judgeOf(plan *Plan) error {
	cfg := plan.Proxy
	if plan.Tunnel != nil {
		cfg.Tunnel = acl.AddrFrom(netip.IPv6Loopback()) // some address: the tunnel's is not known without a network
	}
	_, err := proxy.New(cfg)
	return err
}

// build checks the values by one another and translates them.
func (k *checker) build() *Plan {
	k.names()
	k.tunnel()
	plan := &Plan{File: k.c.File, Watch: k.c.Watch, User: k.c.User.S, Tunnel: k.tunnelConfig(), Proxy: k.proxyConfig()}
	envs := k.environments()
	plan.Named = k.named
	for _, s := range k.c.Sites {
		s.noTo = s.answers()
	}
	parts := k.c.startParts()
	defer func() { plan.parts = <-parts }()
	plan.routePos = map[string]acl.Pos{}
	plan.Env = envs[k.c.File]
	plan.Lists = k.listFiles()
	plan.paths = make(map[*acl.List]string, len(k.sources))
	for _, s := range k.sources {
		plan.paths[s.List] = s.Path
	}
	places := make([]place, 0, 2*(len(k.c.Sites)+len(k.c.Forwards)))
	var services []*service
	plan.Proxy.Sites = make([]proxy.Site, len(k.c.Sites))
	plan.Proxy.Forwards = make([]proxy.Forward, len(k.c.Forwards))
	for i, s := range k.c.Sites {
		out := &plan.Proxy.Sites[i]
		*out = k.site(s, envs[s.Name.Pos.File])
		services = append(services, &s.service)
		for i := range s.Routes {
			services = append(services, &s.Routes[i].service)
			plan.routePos[s.Routes[i].Name.S] = s.Routes[i].Name.Pos
		}
		places = append(places, k.places(&s.service, out.Listen, place{service: "site " + quote(out.Name), site: out})...)
	}
	for i, f := range k.c.Forwards {
		out := &plan.Proxy.Forwards[i]
		*out = k.forward(f, envs[f.Name.Pos.File])
		services = append(services, &f.service)
		places = append(places, k.places(&f.service, out.Listen, place{service: "forward " + quote(out.Name), forward: out})...)
	}
	slices.SortStableFunc(places, func(a, b place) int { return k.compare(a.pos, b.pos) })
	k.shared(places)
	k.plain(places)
	k.loops(places, services)
	if plan.Admin = k.admin(places); plan.Admin.IsValid() {
		plan.Proxy.Refuse = append(plan.Proxy.Refuse, plan.Admin)
	}
	plan.Proxy.Listeners = k.listeners(places)
	plan.Proxy.Pools = k.pools()
	plan.DNS = k.dnsUpdate(plan.Proxy.Sites)
	if len(services) == 0 && len(k.mistakes) == 0 && k.c.Tunnel == nil {
		k.mistake(acl.Pos{File: k.c.File}, "there is nothing to do in this file; write a [site.\"NAME\"], a [forward.NAME] or a [tunnel]")
	}
	return plan
}

func (k *checker) site(s *Site, env acl.Env) proxy.Site {
	out := proxy.Site{
		Name:         s.Name.S,
		Listen:       k.listens(&s.service, "site"),
		To:           k.backends(&s.service, "site"),
		Access:       k.policy(&s.service, env),
		Shadow:       s.Shadow,
		Announce:     k.announces(&s.service, "x-forwarded-for", "forwarded", "x-real-ip", "pseudo-ipv4"),
		PseudoHeader: s.PseudoHeader.S,
		Balance:      balance(s.Balance),
		Check:        proxy.Check(s.Check),
		MaxConns:     s.MaxConns,
		NoHTTP3:      s.NoHTTP3,
		NoRedirect:   s.NoRedirect,
		TLSProfile:   tlsProfile(s.Profile),
		AccessLog:    k.logTo(s.AccessLog),
		ClientCA:     relative(s.ClientCA),

		ClientOptional: s.ClientCert == "optional",
		Cert:           relative(s.Cert),
		Key:            relative(s.Key),
		Trust:          k.trust(s, env),
	}
	k.schemes(&s.service, out.To, "site")
	for _, h := range s.Hosts {
		out.Hosts = append(out.Hosts, h.S)
	}
	if s.Hosts == nil {
		out.Hosts = []string{s.Name.S}
	}
	out.Handling = k.handling(&s.Handling, s.Name.S)
	out.Routes = k.routes(s, env)
	out.BackendTLS = k.backendTLS(s, &out)
	out.Source, out.Pool = k.source(&s.service)
	if slices.Contains(out.Announce, "pseudo-ipv4") && out.Source != proxy.SourcePool {
		out.Pool = "default"
		k.needPool(s.Name.Pos, "announce \"pseudo-ipv4\"", out.Pool)
	}
	k.siteCert(s, &out)
	if s.TrustHeader != "" && len(s.Trust) == 0 {
		k.mistake(s.Name.Pos, "site %q has trust_header, and trusts nobody; write trust = [\"10.9.0.0/24\"] too", s.Name.S)
	}
	return out
}

// trust reads trust: prefixes, or the name of one list.
func (k *checker) trust(s *Site, env acl.Env) proxy.Trust {
	out := proxy.Trust{Header: s.TrustHeader}
	for _, t := range s.Trust {
		if l := env.Lists[t.S]; l != nil {
			out.List = l
			if len(s.Trust) > 1 {
				k.mistake(t.Pos, "trust %q: a list stands alone; write trust = %q, and the prefixes into that list", t.S, t.S)
			}
			continue
		}
		p, err := acl.ParsePrefix(t.S)
		if err == nil {
			out.From = append(out.From, p)
			continue
		}
		if near := DidYouMean(t.S, slices.Collect(maps.Keys(env.Lists))); near != "" {
			k.mistake(t.Pos, "trust %q: no list has this name; did you mean %q?", t.S, near)
			continue
		}
		k.mistake(t.Pos, "trust %v", err)
	}
	return out
}

func (k *checker) forward(f *Forward, env acl.Env) proxy.Forward {
	listen := k.listens(&f.service, "forward")
	if slices.ContainsFunc(listen, func(l proxy.Listen) bool { return l.Network == "udp" }) {
		env.Limits = env.Limits.Unproven()
	}
	out := proxy.Forward{
		Name:            f.Name.S,
		Listen:          listen,
		To:              k.backends(&f.service, "forward"),
		Access:          k.policy(k.presetAccess(f), env),
		Shadow:          f.Shadow,
		Announce:        k.announces(&f.service, "proxy-v1", "proxy-v2", "xclient"),
		AnnounceAddress: f.AnnounceAddress,
		Protocol:        f.Protocol,
		Balance:         balance(f.Balance),
		Check:           proxy.Check(f.Check),
		MaxConns:        f.MaxConns,
		Idle:            f.Idle,
		Lifetime:        f.Lifetime,
		MaxSessions:     f.MaxSessions,
		AccessLog:       k.logTo(f.AccessLog),
		Cert:            relative(f.Cert),
		Key:             relative(f.Key),
		TLS:             forwardTLS(f.TLS),
		TLSProfile:      tlsProfile(f.Profile),
		FTPRequire:      k.ftpRequire(f),
		ECS:             f.ECS,
	}
	k.schemes(&f.service, out.To, "forward")
	for _, n := range f.SNI {
		if _, err := acl.ParseAddr(n.S); err == nil {
			k.mistake(n.Pos, "sni %q: an address, which TLS never has there (RFC 6066 §3); write a name, or leave sni out to take all connections", n.S)
			continue
		}
		out.SNI = append(out.SNI, n.S)
	}
	out.Source, out.Pool = k.source(&f.service)
	k.preset(f, &out)
	if f.AnnounceAddress == "pool" && out.Source != proxy.SourcePool {
		out.Pool = "default"
		k.needPool(f.Name.Pos, "announce_address \"pool\"", out.Pool)
	}
	udp := slices.ContainsFunc(out.Listen, func(l proxy.Listen) bool { return l.Network == "udp" })
	if udp && slices.Contains(out.Announce, "proxy-v1") {
		k.mistake(f.Announce[0].Pos, "announce \"proxy-v1\" has no form for UDP; write \"proxy-v2\"")
	}
	if udp && len(f.SNI) > 0 {
		k.mistake(f.SNI[0].Pos, "sni is read from TLS over TCP, and this forward listens on UDP; make them two forwards")
	}
	k.forwardCert(f, &out)
	k.ranges(f, &out)
	k.passive(f, &out)
	k.openRelay(f, &out)
	return out
}

// ranges checks that a range of ports leads to one port, or to as many.
func (k *checker) ranges(f *Forward, out *proxy.Forward) {
	for _, l := range out.Listen {
		for _, b := range out.To {
			ours, theirs := span(l.Port, l.PortEnd), span(b.Port, b.PortEnd)
			if theirs > 1 && ours != theirs {
				k.mistake(f.Name.Pos, "forward %q listens on %d ports (%s) and leads to %d (%s); write ranges of one length, or one port behind", f.Name.S, ours, l, theirs, b)
				return
			}
		}
	}
}

func span(first, last uint16) int { return max(int(last)-int(first), 0) + 1 }

func balance(word string) proxy.Balance {
	switch word {
	case "least":
		return proxy.BalanceLeast
	case "hash":
		return proxy.BalanceHash
	}
	return proxy.BalanceRoundRobin
}

// listeners translates [listener."…"], each of which some service must use.
func (k *checker) listeners(places []place) []proxy.Listener {
	var all []proxy.Listener
	for _, in := range k.c.Listeners {
		l, err := proxy.ParseListen(in.Listen.S)
		if err != nil {
			k.mistake(in.Listen.Pos, "listener %v", err)
			continue
		}
		if !slices.ContainsFunc(places, func(p place) bool { return p.Listen == l }) && !k.anyDamage() {
			k.mistake(in.Listen.Pos, "listener %q: no site or forward listens there; write the name as in their listen", in.Listen.S)
		}
		all = append(all, proxy.Listener{Listen: l, AcceptProxy: plain(in.AcceptProxy), TLS: in.TLS})
	}
	return all
}

func (k *checker) pools() []proxy.Pool {
	var all []proxy.Pool
	for _, in := range k.c.Pools {
		switch {
		case in.Prefix.Pos.Line == 0:
			if !k.damaged[k.c.File] {
				k.mistake(in.Name.Pos, "pool %q has no prefix; write prefix = \"100.64.0.0/16\"", in.Name.S)
			}
			continue
		case in.Prefix.IsValid() && !in.Prefix.Is4():
			k.mistake(in.Prefix.Pos, "prefix %q: this is IPv6, and servers see a pool's addresses over IPv4; write one as \"100.64.0.0/16\"", in.Prefix)
			continue
		}
		if why := noPool(in.Prefix.Netip()); why != "" {
			k.mistake(in.Prefix.Pos, "prefix %q: %s; write one as \"100.64.0.0/16\"", in.Prefix, why)
			continue
		}
		out := proxy.Pool{Name: in.Name.S, Prefix: in.Prefix.Prefix, Quarantine: in.Quarantine, Per48: in.Per48}
		out.Domain = k.sixRD().Prefix
		all = append(all, out)
	}
	return all
}

// noPool tells why no client can have an address of a prefix; "" where it can.
func noPool(p netip.Prefix) string {
	switch first := p.Masked().Addr(); {
	case !first.IsValid():
		return ""
	case p.Contains(netip.AddrFrom4([4]byte{127, 0, 0, 1})):
		return "127.0.0.1 is in it, which servers take for this machine"
	case first.As4()[0] == 0 || first.As4()[0] >= 224:
		return "no host may have such an address"
	}
	return ""
}

func (k *checker) proxyConfig() proxy.Config {
	out := proxy.Config{MaxConns: k.c.MaxConns, StateDir: stateDir(k.c), Timeouts: proxy.Timeouts(k.c.Timeouts), Limits: proxy.Limits(k.c.Limits), Certs: k.certs(), AccessLog: k.logTo(Log{})}
	switch k.c.Underscores {
	case "reject":
		out.Underscores = message.RejectAliases
	case "pass":
		out.Underscores = message.PassAliases
	}
	if k.c.ByPort {
		out.TransparentBy = proxy.TransparentByPort
	}
	if k.c.hasBackends {
		out.Backends = plain(k.c.Backends)
		for _, p := range k.c.Backends {
			if p.IsValid() && !p.Is4() {
				k.mistake(p.Pos, "backends %q: this is IPv6, and servers behind Genkan are IPv4 only; write IPv4 networks", p)
			}
		}
	}
	return out
}

func plain(in []Prefix) []acl.Prefix {
	out := make([]acl.Prefix, 0, len(in))
	for _, p := range in {
		out = append(out, p.Prefix)
	}
	return out
}

// tunnelConfig translates [tunnel] and lets the tunnel judge it.
func (k *checker) tunnelConfig() *tunnel.Config {
	t := k.c.Tunnel
	if t == nil {
		return nil
	}
	out := &tunnel.Config{
		Kind: t.Kind, Role: t.Role, IPv4MaskLen: t.IPv4MaskLen, Local: t.Local.Netip(), Remote: t.Remote.Netip(),
		DHCP: t.DHCP, MTU: t.MTU, TTL: t.TTL, Anycast: t.Anycast, Interface: t.Interface.S, Datapath: t.Datapath, Expose: t.Expose,
	}
	if t.Prefix.IsValid() {
		out.Prefix = t.Prefix.Netip()
	}
	if t.IPv4Common.IsValid() {
		out.IPv4Common = t.IPv4Common.Netip()
	}
	for _, r := range t.Relays {
		out.Relays = append(out.Relays, r.Netip())
	}
	for _, p := range t.Routed {
		out.Routed = append(out.Routed, p.Netip())
	}
	if t.Address.Given() {
		p, err := netip.ParsePrefix(t.Address.S)
		if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
			k.mistake(t.Address.Pos, "address %q: not an IPv6 address with a length; write it as \"2001:db8:100::2/64\"", t.Address.S)
		}
		out.Address = p
	}
	if len(k.mistakes) == 0 {
		if err := out.Validate(); err != nil {
			pos, msg := t.Pos, oneLine(err)
			if strings.HasPrefix(msg, "6rd prefix ") && !t.DHCP {
				pos = t.Prefix.Pos
			}
			k.mistake(pos, "[tunnel] %s", msg)
		}
	}
	return out
}
