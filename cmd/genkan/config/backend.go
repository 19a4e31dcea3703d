package config

import (
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
func (k *checker) schemes(s *service, to []proxy.Backend, tls BackendTLS, what string) proxy.BackendTLS {
	encrypted := false
	for i, b := range to {
		pos := s.Name.Pos
		if i < len(s.To) {
			pos = s.To[i].Pos
		}
		switch {
		case what == "forward" && b.Scheme != "":
			k.mistake(pos, "to %q: a forward takes bytes as they are; write the address alone, or make it a [site]", b)
			return proxy.BackendTLS{}
		case b.Scheme != to[0].Scheme:
			k.mistake(pos, "to %q is spoken to in another way than %q; write the same before each address", b, to[0])
			return proxy.BackendTLS{}
		}
		encrypted = b.Scheme == "https" || b.Scheme == "h2"
	}
	if tls.Given && !encrypted && len(to) > 0 {
		k.mistake(s.Name.Pos, "site %q has backend_tls, and speaks plain to its backends; write to = \"https://%s\"", s.Name.S, to[0])
	}
	return proxy.BackendTLS{CA: relative(tls.CA), Name: tls.Name.S}
}
