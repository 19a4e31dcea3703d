package config

import (
	"slices"

	"genkan/proxy"
)

// A BackendTLS is backend_tls = { … }: how a backend with https:// proves who it is.
type BackendTLS struct {
	Given bool
	CA    Text // a PEM file, relative to the configuration file; not given: the system's authorities
	Name  Text // what the certificate is for; not given: what stands in to
}

func backendTLSFields() []field[BackendTLS] {
	return []field[BackendTLS]{
		{"ca", `"/etc/ssl/backends.pem"`, "the authorities that are believed, or the backend's own certificate, which is then believed as it is; the system's authorities without it",
			func(d *decoder, b *BackendTLS, v *value) { b.CA = d.text(v) }},
		{"name", `"app.internal"`, "what the certificate is for, sent as SNI too; the name or address in to without it",
			func(d *decoder, b *BackendTLS, v *value) { b.Name = d.text(v) }},
	}
}

// schemes checks how the backends of a service are spoken to.
func (k *checker) schemes(s *service, to []proxy.Backend, what string) {
	for i, b := range to {
		pos := s.Name.Pos
		if i < len(s.To) {
			pos = s.To[i].Pos
		}
		switch {
		case what == "forward" && b.Scheme != "":
			k.mistake(pos, "to %q: a forward takes bytes as they are; write the address alone, or make it a [site]", b)
			return
		case b.Scheme != to[0].Scheme:
			k.mistake(pos, "to %q is spoken to in another way than %q; write the same before each address", b, to[0])
			return
		}
	}
}

// backendTLS translates backend_tls, which is for those backends of a site and its routes that are spoken to by TLS.
func (k *checker) backendTLS(s *Site, out *proxy.Site) proxy.BackendTLS {
	plain := func(to []proxy.Backend) bool {
		return !slices.ContainsFunc(to, func(b proxy.Backend) bool { return b.Scheme == "https" || b.Scheme == "h2" })
	}
	routes := slices.ContainsFunc(out.Routes, func(r proxy.Route) bool { return !plain(r.To) })
	if s.BackendTLS.Given && plain(out.To) && !routes && len(out.To) > 0 {
		k.mistake(s.Name.Pos, "site %q has backend_tls, and speaks plain to its backends; write to = \"https://%s\"", s.Name.S, out.To[0])
	}
	return proxy.BackendTLS{CA: relative(s.BackendTLS.CA), Name: s.BackendTLS.Name.S}
}
