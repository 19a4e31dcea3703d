package config

import (
	"fmt"
	"slices"

	"genkan/acl"
	"genkan/acl/forwarded"
	"genkan/acl/list"
	"genkan/proxy"
	"genkan/proxy/message"
	"genkan/proxy/web"
)

// A Service is what "genkan explain" asks about: a site or a forward.
type Service struct {
	Name     string
	Access   *acl.Policy
	Shadow   bool // who is denied enters all the same
	OnTunnel bool // it listens on the tunnel, or on all IPv6 addresses of a host that has one
	Trust    forwarded.Resolver

	doors  []door               // where it listens by TCP
	paths  map[*acl.List]string // of the lists that files fill
	routes web.Routes[*routePlace]
}

// A routePlace is a route with rules of its own or the site's, and where it is written.
type routePlace struct {
	path   string
	access *acl.Policy // nil: the site's
	pos    acl.Pos
}

// At gives the service as its part that a target means, and says which route that is; "" for none. The error is
// answered with 400 by the daemon.
func (s Service) At(target string) (part Service, route string, pos acl.Pos, err error) {
	if err = message.CheckPath(target); err != nil || s.routes.Empty() {
		return s, "", pos, err
	}
	path, _, err := web.CleanTarget(target)
	if err != nil {
		return s, "", pos, err
	}
	r, err := s.routes.Route(path)
	if err != nil || r == nil {
		return s, "", pos, err
	}
	if r.access != nil {
		s.Access = r.access
	}
	return s, fmt.Sprintf("route %s", r.path), r.pos, nil
}

// Entry finds the line of a list's file that has an address; "" where it stands in no file, or not any more.
func (s Service) Entry(l *acl.List, a acl.Addr) string {
	path, ok := s.paths[l]
	if !ok || !l.Set().Contains(a) {
		return ""
	}
	line, found, err := list.Where(path, a)
	if err != nil || !found {
		return ""
	}
	return line.Pos.String()
}

// A door is a TCP listener, and who must send a PROXY header there.
type door struct {
	at          proxy.Listen
	acceptProxy []acl.Prefix
}

// opensTo reports whether clients of the family of an address come in there.
func (d *door) opensTo(a acl.Addr) bool {
	return d.at.Tunnel && a.Is6() || !d.at.Tunnel && (!d.at.Addr.IsValid() || d.at.Addr.Is4() == a.Is4())
}

func (d *door) names(peer acl.Addr) bool {
	return slices.ContainsFunc(d.acceptProxy, func(p acl.Prefix) bool { return p.Contains(peer) })
}

// AcceptsProxy reports whether a listener of the service requires a PROXY header from a peer.
func (s Service) AcceptsProxy(peer acl.Addr) bool {
	return slices.ContainsFunc(s.doors, func(d door) bool { return d.opensTo(peer) && d.names(peer) })
}

// RequiresProxy reports whether all listeners do that the peer can come to: without the header it does not get in.
func (s Service) RequiresProxy(peer acl.Addr) bool {
	return s.AcceptsProxy(peer) && !slices.ContainsFunc(s.doors, func(d door) bool { return d.opensTo(peer) && !d.names(peer) })
}

// Service finds a site or forward by its name.
func (p *Plan) Service(name string) (Service, error) {
	var names []string
	for _, s := range p.Proxy.Sites {
		if s.Name == name {
			found := Service{Name: s.Name, Access: s.Access, Shadow: s.Shadow, OnTunnel: p.onTunnel(s.Listen), Trust: resolver(s.Trust), doors: p.doors(s.Listen), paths: p.paths}
			for _, r := range s.Routes {
				if err := found.routes.Add(r.Path, &routePlace{r.Path, r.Access, p.routePos[s.Name+r.Path]}); err != nil {
					return Service{}, err
				}
			}
			return found, nil
		}
		names = append(names, s.Name)
	}
	for _, f := range p.Proxy.Forwards {
		if f.Name == name {
			return Service{Name: f.Name, Access: f.Access, Shadow: f.Shadow, OnTunnel: p.onTunnel(f.Listen), doors: p.doors(f.Listen), paths: p.paths}, nil
		}
		names = append(names, f.Name)
	}
	if near := DidYouMean(name, names); near != "" {
		return Service{}, fmt.Errorf("%s has no site or forward %s; did you mean %q?", p.File, quote(name), near)
	}
	if len(names) > 20 {
		names = append(names[:20:20], "…")
	}
	return Service{}, fmt.Errorf("%s has no site or forward %s; write one of %s", p.File, quote(name), oneOf(names))
}

func (p *Plan) doors(listens []proxy.Listen) []door {
	var all []door
	for _, at := range listens {
		if at.Network != "tcp" {
			continue
		}
		d := door{at: at}
		for _, l := range p.Proxy.Listeners {
			if l.Listen == at {
				d.acceptProxy = l.AcceptProxy
			}
		}
		all = append(all, d)
	}
	return all
}

// resolver finds the client behind the proxies that a site trusts.
func resolver(t proxy.Trust) forwarded.Resolver {
	if len(t.From) == 0 && t.List == nil {
		return forwarded.Resolver{}
	}
	r := forwarded.Resolver{Header: forwarded.XForwardedFor, Trusted: t.List}
	if t.List == nil {
		var set acl.SetBuilder
		for _, p := range t.From {
			set.AddPrefix(p)
		}
		r.Trusted = acl.NewList(set.Build())
	}
	if t.Header == "forwarded" {
		r.Header = forwarded.Forwarded
	}
	return r
}

func (p *Plan) onTunnel(listens []proxy.Listen) bool {
	return p.Tunnel != nil && slices.ContainsFunc(listens, func(l proxy.Listen) bool {
		return l.Tunnel || !l.Addr.IsValid() || l.Addr.Is6() && l.Addr.Netip().IsUnspecified()
	})
}

// A Reach is where one service leads.
type Reach struct {
	Name string // `site "x"`
	To   []proxy.Backend
	UDP  bool // it listens on UDP alone
}

// Services lists where all sites and forwards lead.
func (p *Plan) Services() []Reach {
	var all []Reach
	for _, s := range p.Proxy.Sites {
		all = append(all, Reach{Name: "site " + quote(s.Name), To: s.To})
		for _, r := range s.Routes {
			all = append(all, Reach{Name: "site " + quote(s.Name) + " route " + quote(r.Path), To: r.To})
		}
	}
	for _, f := range p.Proxy.Forwards {
		all = append(all, Reach{
			Name: "forward " + quote(f.Name), To: f.To,
			UDP: !slices.ContainsFunc(f.Listen, func(l proxy.Listen) bool { return l.Network == "tcp" }),
		})
	}
	return all
}

// Listens lists all listeners, each once.
func (p *Plan) Listens() []proxy.Listen {
	var all []proxy.Listen
	seen := make(map[proxy.Listen]bool)
	add := func(listens []proxy.Listen) {
		for _, l := range listens {
			if !seen[l] {
				seen[l] = true
				all = append(all, l)
			}
		}
	}
	for _, s := range p.Proxy.Sites {
		add(s.Listen)
	}
	for _, f := range p.Proxy.Forwards {
		add(f.Listen)
	}
	return all
}
