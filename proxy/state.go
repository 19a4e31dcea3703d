package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"genkan/acl"
	"genkan/proxy/accesslog"
	"genkan/proxy/certs"
	"genkan/proxy/descriptors"
	"genkan/proxy/ftp"
	"genkan/proxy/pool"
	"genkan/proxy/web"
)

// A state is a Config made ready: looked up by socket and by name, checked,
// with its backends. It is not changed once it serves; a reload makes a new one
// and hands over the groups that are the same.
type state struct {
	config   Config
	timeouts Timeouts
	maxConns int
	tunnel   acl.Addr
	guard    guard
	services map[endpoint]*service
	sites    map[string]*site
	forwards map[string]*forward
	groups   map[groupID]*group
	pools    map[string]*pool.Pool // open ones; set by poolSet.prepare

	pairs     map[[2]string]*certs.Pair // certificates in files, by the two names
	subjects  []certs.Subject           // certificates that are to be had
	accessLog *accesslog.Log            // of requests that are no site's; set by logSet.prepare
}

// A service is what stands behind one socket: sites by Host, forwards by SNI,
// or one forward.
type service struct {
	listen      Listen
	offset      int // of the port, into the range of listen
	acceptProxy []acl.Prefix
	sites       web.Table[*site]
	sni         web.Table[*forward]
	data        *forward // FTP data of this forward; nil: none
	forward     *forward // of what sni does not take; nil: sites, or nobody

	tls       bool        // the listener says so
	hasCert   bool        // one of sites has a certificate, or gets one
	hasAuto   bool        // one of sites gets one
	slow      bool        // a handshake may take long: one of the certificates is slow
	tlsConfig *tls.Config // nil: the sites speak no TLS
	trusted   []*acl.List // proxies that sites believe: they are many clients each
	quic      bool        // a site with a certificate wants HTTP/3
	altSvc    string      // what tells of it, "" where there is none
	http3     bool        // this is its UDP side
}

// A site is a Site made ready.
type site struct {
	Site
	gateway
	root   *part
	routes web.Routes[*part]
	parts  []*part // of routes
	trust  trust
	pseudo bool        // "pseudo-ipv4" is announced
	cert   certificate // none: the site speaks no TLS

	clientCA *clientCA // nil: clients are not asked for certificates

	backendTrust backendTrust // of those backends that are spoken to by TLS
}

// A forward is a Forward made ready. With a port range, each of its groups is
// for one port; otherwise there is one.
type forward struct {
	Forward
	gateway
	groups  []*group
	udpIdle time.Duration // of a UDP session
	hub     *ftp.Hub      // of protocol "ftp"; nil otherwise
	tls     *tls.Config   // towards clients; nil: their bytes pass as they are
	cert    certificate   // of tls
}

// groupOf is the backends for svc's port.
func (f *forward) groupOf(svc *service) *group {
	return f.groups[min(svc.offset, len(f.groups)-1)]
}

// build checks cfg and makes a state of it. Groups of the running state that
// did not change are taken over. The error joins all faults.
func (s *Server) build(cfg Config) (*state, error) {
	st := &state{
		config:   cfg,
		timeouts: cfg.Timeouts,
		maxConns: cfg.MaxConns,
		tunnel:   cfg.Tunnel,
		services: map[endpoint]*service{},
		sites:    map[string]*site{},
		forwards: map[string]*forward{},
		groups:   map[groupID]*group{},
		pairs:    map[[2]string]*certs.Pair{},
	}
	var errs faults
	errs.add("", st.timeouts.fill())
	if st.maxConns < 0 {
		errs.add("", fmt.Errorf("max_conns %d: negative; write how many connections may be open", st.maxConns))
	}
	if st.maxConns <= 0 {
		st.maxConns = defaultMaxConns()
	}
	errs.add("", st.config.Limits.fill(st.maxConns))
	for _, c := range cfg.Sites {
		st.addSite(c, s, &errs)
	}
	for _, c := range cfg.Forwards {
		st.addForward(c, s, &errs)
	}
	for _, l := range cfg.Listeners {
		st.addListener(l, &errs)
	}
	st.addTLS(s, &errs)
	st.addSubjects(&errs)
	st.addGuard(&errs)
	st.checkPools(&errs)
	st.checkTransparent(&errs)
	st.checkLogs(&errs)
	st.checkOverlaps(&errs)
	if err := errs.join(); err != nil {
		return nil, err
	}
	return st, nil
}

// faults collects what is wrong, each with its place.
type faults []error

func (f *faults) add(place string, err error) {
	switch {
	case err == nil:
	case place == "":
		*f = append(*f, err)
	default:
		*f = append(*f, fmt.Errorf("%s: %w", place, err))
	}
}

// addAll adds each, so that each has its place.
func (f *faults) addAll(place string, errs []error) {
	for _, err := range errs {
		f.add(place, err)
	}
}

func (f faults) join() error { return errors.Join(f...) }

func (st *state) addSite(c Site, s *Server, errs *faults) {
	place := fmt.Sprintf("site %q", c.Name)
	if st.sites[c.Name] != nil {
		errs.add(place, errors.New("the name is given twice"))
		return
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{c.Name}
	}
	if c.Announce == nil {
		c.Announce = []string{"x-forwarded-for"}
	}
	if c.Pool == "" {
		c.Pool = "default"
	}
	if c.PseudoHeader == "" {
		c.PseudoHeader = "Pseudo-IPv4"
	}
	errs.add(place, checkAnnounce(c.Announce, "x-forwarded-for", "forwarded", "x-real-ip", "pseudo-ipv4"))
	errs.add(place, checkPseudoHeader(c.PseudoHeader, c.Announce))
	one := &site{
		Site:    c,
		gateway: gateway{"site", c.Name, c.Access, c.Shadow, s.stats.of("site", c.Name), nil},
		pseudo:  slices.Contains(c.Announce, "pseudo-ipv4"),
	}
	errs.add(place, st.certify(one, s))
	var err error
	one.clientCA, err = one.loadClientCA()
	errs.add(place, err)
	one.trust, err = c.Trust.ready()
	errs.add(place, err)
	one.backendTrust, err = one.backendTLS()
	errs.add(place, err)
	one.root = &part{gateway: one.gateway, Handling: &one.Handling}
	errs.addAll(place, st.addPart(one, one.root, c.To, "site", c.Name, s))
	st.addRoutes(one, place, s, errs)
	st.sites[c.Name] = one
	for _, l := range c.Listen {
		if l.Network != "tcp" {
			errs.add(place, fmt.Errorf("listen %q: a site listens on TCP", l))
			continue
		}
		st.eachEndpoint(l, place, errs, func(svc *service) {
			if svc.forward != nil {
				errs.add(place, fmt.Errorf("listen %q: forward %q has all of it already", l, svc.forward.Name))
				return
			}
			if one.trust.from != nil {
				svc.trusted = append(svc.trusted, one.trust.from)
			}
			svc.hasCert = svc.hasCert || one.cert.exists()
			svc.hasAuto = svc.hasAuto || one.cert.from != nil
			svc.slow = svc.slow || one.cert.slow()
			svc.quic = svc.quic || one.cert.exists() && !c.NoHTTP3
			for _, pattern := range c.Hosts {
				name, err := canonicalPattern(pattern)
				if err == nil {
					err = svc.sites.Add(name, one)
				}
				errs.add(place, err)
			}
		})
	}
}

func (st *state) addForward(c Forward, s *Server, errs *faults) {
	place := fmt.Sprintf("forward %q", c.Name)
	if st.forwards[c.Name] != nil {
		errs.add(place, errors.New("the name is given twice"))
		return
	}
	if c.Pool == "" {
		c.Pool = "default"
	}
	errs.add(place, checkForwardAnnounce(c))
	one := &forward{Forward: c, gateway: gateway{"forward", c.Name, c.Access, c.Shadow, s.stats.of("forward", c.Name), nil}}
	one.udpIdle = cmp.Or(c.Idle, st.timeouts.UDPIdle)
	one.Idle = cmp.Or(c.Idle, st.timeouts.Idle)
	one.MaxSessions = cmp.Or(c.MaxSessions, 16384)
	one.Lifetime = cmp.Or(c.Lifetime, st.timeouts.Lifetime)
	config, err := st.groupOf("forward", c.Name, c.To, c.Balance, c.Check, c.MaxConns)
	errs.add(place, err)
	config.preamble = preamble(c.Announce)
	config.comesFrom(c.Source, c.Pool)
	span := uint16(0)
	for _, l := range c.Listen {
		span = max(span, l.PortEnd-l.Port)
	}
	errs.add(place, checkSpans(c))
	errs.add(place, st.terminate(one, s))
	for offset := range int(span) + 1 {
		config.offset = uint16(offset)
		one.groups = append(one.groups, st.takeGroup(config, s))
	}
	st.forwards[c.Name] = one
	if c.Protocol == "ftp" {
		one.hub = st.ftpHub(c, s)
		st.addPassive(one, place, errs)
	}
	for _, l := range c.Listen {
		if len(c.SNI) > 0 {
			st.addNames(one, l, place, errs)
			continue
		}
		st.eachEndpoint(l, place, errs, func(svc *service) {
			if svc.forward != nil {
				errs.add(place, fmt.Errorf("listen %q: forward %q has it already", l, svc.forward.Name))
				return
			}
			if !svc.sites.Empty() {
				errs.add(place, fmt.Errorf("listen %q: a site has it already", l))
				return
			}
			errs.add(place, svc.isForData(l))
			svc.forward = one
		})
	}
}

// addNames gives the TLS connections of some names to a forward.
func (st *state) addNames(one *forward, l Listen, place string, errs *faults) {
	if l.Network != "tcp" {
		errs.add(place, fmt.Errorf("listen %q: sni is for TCP", l))
		return
	}
	st.eachEndpoint(l, place, errs, func(svc *service) {
		errs.add(place, svc.isForData(l))
		for _, pattern := range one.SNI {
			name, err := canonicalPattern(pattern)
			if err == nil {
				err = svc.sni.Add(name, one)
			}
			errs.add(place, err)
		}
	})
}

// checkSpans refuses port ranges that do not fit each other.
func checkSpans(c Forward) error {
	for _, to := range c.To {
		if to.PortEnd == to.Port {
			continue
		}
		for _, l := range c.Listen {
			if l.PortEnd-l.Port != to.PortEnd-to.Port {
				return fmt.Errorf("listen %q and to %q have different numbers of ports; write ranges of the same length, or one port in \"to\"", l, to)
			}
		}
	}
	return nil
}

// eachEndpoint gives what is to stand behind each socket of l to add.
func (st *state) eachEndpoint(l Listen, place string, errs *faults, add func(*service)) {
	addrs, err := l.addrs(st.tunnel)
	if err != nil {
		errs.add(place, err)
		return
	}
	if l.Network != "tcp" && l.Network != "udp" {
		errs.add(place, fmt.Errorf("listen %q: network %q is neither tcp nor udp", l, l.Network))
		return
	}
	for _, addr := range addrs {
		for offset := range int(l.PortEnd-l.Port) + 1 {
			e := endpoint{l.Network, netip.AddrPortFrom(addr, l.Port+uint16(offset))}
			svc := st.services[e]
			if svc == nil {
				svc = &service{listen: l, offset: offset}
				st.services[e] = svc
			}
			add(svc)
		}
	}
}

// addListener gives the settings of a listener to its sockets, which some
// site or forward has to have opened.
func (st *state) addListener(l Listener, errs *faults) {
	place := fmt.Sprintf("listener %q", l.Listen)
	addrs, err := l.Listen.addrs(st.tunnel)
	errs.add(place, err)
	if l.Listen.Network == "udp" && len(l.AcceptProxy) > 0 {
		errs.add(place, errors.New("accept_proxy: the PROXY protocol is taken over TCP only; take it away"))
	}
	found := false
	for e, svc := range st.services {
		port := e.addr.Port()
		if e.network == l.Listen.Network && slices.Contains(addrs, e.addr.Addr()) && l.Listen.Port <= port && port <= l.Listen.PortEnd {
			svc.acceptProxy, svc.tls, found = l.AcceptProxy, l.TLS, true
			if svc.forward != nil && svc.forward.hub != nil {
				st.announcePassive(svc.forward, e.addr.Addr(), l.AcceptProxy)
			}
		}
	}
	if err == nil && !found {
		errs.add(place, errors.New("no site or forward listens there"))
	}
}

// addGuard makes the guard, and holds the literal backends against it. Where a
// name leads is its owner's affair, who could refuse each reload by it: that is
// judged when it is dialled.
func (st *state) addGuard(errs *faults) {
	st.guard.bounds = descriptors.Now()
	if st.config.Backends != nil {
		st.guard.allowed = []netip.Prefix{}
	}
	for _, p := range st.config.Backends {
		st.guard.allowed = append(st.guard.allowed, p.Netip())
	}
	for e := range st.services {
		if e.addr.Port() != 0 {
			st.guard.own = append(st.guard.own, e)
		}
	}
	for _, addr := range st.config.Refuse {
		st.guard.own = append(st.guard.own, endpoint{"tcp", addr})
	}
	for _, g := range st.sortedGroups() {
		for i, m := range g.members {
			ip := g.config.to[i].Addr
			if !ip.IsValid() {
				continue
			}
			if err := st.guard.check("tcp", netip.AddrPortFrom(ip.Netip(), m.port)); err != nil {
				errs.add(fmt.Sprintf("%s %q", g.config.key, g.config.name), fmt.Errorf("to %q: %w", m.text, err))
			}
		}
	}
}

// takeGroup gives the running group of config where there is one, or a new one.
func (st *state) takeGroup(config groupConfig, s *Server) *group {
	id := groupID{config.key, config.name, config.offset}
	g := (*group)(nil)
	if old := s.state.Load(); old != nil && old.groups[id] != nil && old.groups[id].config.equal(config) {
		g = old.groups[id]
	} else {
		g = newGroup(config, s.log)
		s.steering.restore(g)
	}
	st.groups[id] = g
	return g
}

// sortedGroups gives all groups, in the order of their names.
func (st *state) sortedGroups() []*group {
	return slices.SortedFunc(maps.Values(st.groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.config.key, b.config.key), cmp.Compare(a.config.name, b.config.name),
			cmp.Compare(a.config.offset, b.config.offset))
	})
}

// start starts what the groups do by themselves; those taken over go on.
func (st *state) start(ctx context.Context, dial func(pool string) dialFunc, lookup lookupFunc) {
	for _, g := range st.groups {
		g.start(ctx, dial(g.config.probeFrom), lookup)
	}
}

// stop ends what start began, but for the groups that next has too.
func (st *state) stop(next *state) {
	for id, g := range st.groups {
		if next == nil || next.groups[id] != g {
			g.close()
		}
	}
}

// fill puts the defaults in.
func (t *Timeouts) fill() error {
	for _, f := range []struct {
		value    *time.Duration
		fallback time.Duration
		name     string
	}{
		{&t.Header, 5 * time.Second, "header"},
		{&t.Dial, 5 * time.Second, "dial"},
		{&t.Idle, time.Hour, "idle"},
		{&t.Lifetime, 24 * time.Hour, "lifetime"},
		{&t.KeepIdle, time.Minute, "keep_idle"},
		{&t.Request, time.Minute, "request"},
		{&t.UDPIdle, time.Minute, "udp_idle"},
		{&t.Drain, 30 * time.Second, "drain"},
		{&t.Handshake, 10 * time.Second, "handshake"},
		{&t.Body, 30 * time.Second, "body"},
		{&t.BodyGrace, 10 * time.Second, "body_grace"},
		{&t.Write, 30 * time.Second, "write"},
	} {
		if *f.value < 0 {
			return fmt.Errorf("timeout %q is negative (%s); write how long to wait, or leave it out for %s", f.name, *f.value, f.fallback)
		}
		if *f.value == 0 {
			*f.value = f.fallback
		}
	}
	return nil
}
