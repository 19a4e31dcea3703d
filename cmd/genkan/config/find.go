package config

import (
	"fmt"
	"slices"

	"genkan/acl"
	"genkan/proxy"
)

// A Service is what "genkan explain" asks about: a site or a forward.
type Service struct {
	Name     string
	Access   *acl.Policy
	OnTunnel bool // it listens on the tunnel, or on all IPv6 addresses of a host that has one
	Trust    proxy.Trust
}

// Service finds a site or forward by its name.
func (p *Plan) Service(name string) (Service, error) {
	var names []string
	for _, s := range p.Proxy.Sites {
		if s.Name == name {
			return Service{s.Name, s.Access, p.onTunnel(s.Listen), s.Trust}, nil
		}
		names = append(names, s.Name)
	}
	for _, f := range p.Proxy.Forwards {
		if f.Name == name {
			return Service{f.Name, f.Access, p.onTunnel(f.Listen), proxy.Trust{}}, nil
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

func (p *Plan) onTunnel(listens []proxy.Listen) bool {
	return p.Tunnel != nil && slices.ContainsFunc(listens, func(l proxy.Listen) bool {
		return l.Tunnel || !l.Addr.IsValid() || l.Addr.Is6() && l.Addr.Netip().IsUnspecified()
	})
}
