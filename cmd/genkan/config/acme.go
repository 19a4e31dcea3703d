package config

import (
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"

	"genkan/acl"
	"genkan/proxy"
	"genkan/proxy/certs"
)

// An ACME is [acme]: how certificates are had that are in no files.
type ACME struct {
	Pos         acl.Pos // of the header
	Email       Text
	CA          Text // the directory's address; not given: Let's Encrypt
	CARoot      Text // PEM file
	Profile     Text
	Storage     Text // a directory; not given: certs in state_dir
	EAB         EAB
	DNS         DNS
	OnDemand    Text
	NoPreflight bool // preflight = false
	Resolver    Text
}

// A DNS is dns = { … }: the name server that takes the records of DNS-01.
type DNS struct {
	Server Text // HOST:PORT or HOST
	Key    Text // the file, as tsig-keygen writes it
	Zone   Text // the names that it is used for; not given: all
	Given  bool
}

// An EAB is eab = { … }: an account that the CA knows the operator by (RFC 8555 §7.3.4).
type EAB struct {
	ID, Key Text // the key is a file
	Given   bool
}

func eabFields() []field[EAB] {
	return []field[EAB]{
		{"id", `"kid-1"`, "the key identifier that the CA has given", func(d *decoder, e *EAB, v *value) { e.ID = d.text(v) }},
		{"key", `"/etc/genkan/eab.key"`, "the file of the MAC key, base64url", func(d *decoder, e *EAB, v *value) { e.Key = d.text(v) }},
	}
}

func acmeFields() []field[ACME] {
	return []field[ACME]{
		{"email", `"hostmaster@example.jp"`, "told to the CA, which may write when something is wrong",
			func(d *decoder, a *ACME, v *value) { a.Email = d.text(v) }},
		{"ca", `"https://ca.example.jp/acme/directory"`, "the CA's directory; Let's Encrypt without it, whose terms you agree to by that",
			func(d *decoder, a *ACME, v *value) { a.CA = d.text(v) }},
		{"ca_root", `"/etc/genkan/ca-root.pem"`, "the roots, PEM, that the CA's own TLS is checked by; the system's without it",
			func(d *decoder, a *ACME, v *value) { a.CARoot = d.text(v) }},
		{"profile", `"shortlived"`, "one of the CA's profiles of certificates; its default without it",
			func(d *decoder, a *ACME, v *value) { a.Profile = d.text(v) }},
		{"eab", `{ id = "kid-1", key = "eab.key" }`, "the account that some CAs want: an identifier, and the file of its MAC key",
			func(d *decoder, a *ACME, v *value) { a.EAB.Given = true; sub(d, v, eabFields(), &a.EAB) }},
		{"storage", `"/var/lib/genkan/certs"`, "a directory for certificates, keys and the account; certs in state_dir without it",
			func(d *decoder, a *ACME, v *value) { a.Storage = d.text(v) }},
		{"dns", `{ server = "192.0.2.53", key = "update.key", zone = "example.jp" }`, "DNS-01 by RFC 2136, which wildcards need",
			func(d *decoder, a *ACME, v *value) { a.DNS.Given = true; sub(d, v, dnsFields(), &a.DNS) }},
		{"on_demand", `"http://127.0.0.1:5555/ask"`, "an allow-list: where it answers 200 to ?domain=NAME, a name that a client asks for gets a certificate though it is written nowhere, for hosts \"default\" and *.NAME",
			func(d *decoder, a *ACME, v *value) { a.OnDemand = d.text(v) }},
		{"preflight", `false`, "whether it is tried before an order that the name's addresses lead here; true (default) or false",
			func(d *decoder, a *ACME, v *value) { a.NoPreflight = !d.boolean(v) }},
		{"resolver", `"192.0.2.53"`, "the DNS server that is asked for the names' addresses; the system's without it",
			func(d *decoder, a *ACME, v *value) { a.Resolver = d.text(v) }},
	}
}

func dnsFields() []field[DNS] {
	return []field[DNS]{
		{"server", `"192.0.2.53"`, "the zone's primary name server, with :PORT where that is not 53",
			func(d *decoder, n *DNS, v *value) { n.Server = d.text(v) }},
		{"key", `"/etc/genkan/update.key"`, "the file of its TSIG key, as tsig-keygen writes it; by systemd \"${CREDENTIALS_DIRECTORY}/NAME\"",
			func(d *decoder, n *DNS, v *value) { n.Key = d.text(v) }},
		{"zone", `"example.jp"`, "DNS-01 is used for the names in it; for all names without it",
			func(d *decoder, n *DNS, v *value) { n.Zone = d.text(v) }},
	}
}

// certs translates [acme], with what holds without it.
func (k *checker) certs() certs.Settings {
	a := k.c.ACME
	if a == nil {
		a = &ACME{}
	}
	out := certs.Settings{
		Dir: relative(a.Storage), CA: a.CA.S, CARoot: relative(a.CARoot), Email: a.Email.S, Profile: a.Profile.S,
		Ask: a.OnDemand.S, NoPreflight: a.NoPreflight, Resolver: k.nameServer(a.Resolver),
	}
	if out.Dir == "" {
		out.Dir = filepath.Join(stateDir(k.c), "certs")
	}
	if a.Email.Given() && (strings.Count(a.Email.S, "@") != 1 || strings.ContainsAny(a.Email.S, " \t,;<>")) {
		k.mistake(a.Email.Pos, "email %s is no address; write one as \"hostmaster@example.jp\"", quote(a.Email.S))
	}
	k.accountBinding(a, &out)
	if !a.DNS.Given {
		return out
	}
	if !a.DNS.Server.Given() || !a.DNS.Key.Given() {
		k.mistake(a.Pos, "[acme] dns needs server and key; write dns = { server = \"192.0.2.53\", key = \"update.key\" }")
		return out
	}
	out.DNSZone = strings.TrimSuffix(a.DNS.Zone.S, ".")
	out.DNS.Server, out.DNS.Key = k.nameServer(a.DNS.Server), k.tsigKey(a.DNS.Key)
	return out
}

// accountBinding reads eab, which binds our account with the CA to one that the operator has there.
func (k *checker) accountBinding(a *ACME, out *certs.Settings) {
	switch e := a.EAB; {
	case !e.Given:
		return
	case !e.ID.Given() || !e.Key.Given():
		k.mistake(a.Pos, "[acme] eab needs id and key; write eab = { id = \"kid-1\", key = \"eab.key\" }, as the CA gives them")
		return
	default:
		text, err := readBounded(relative(e.Key))
		if err != nil {
			k.mistake(e.Key.Pos, "key %s: %s", quote(e.Key.S), cause(err))
			return
		}
		mac := strings.TrimRight(strings.TrimSpace(string(text)), "=")
		if raw, err := base64.RawURLEncoding.DecodeString(mac); err != nil || len(raw) == 0 {
			k.mistake(e.Key.Pos, "key %s: no MAC key of an external account; it is one line of base64url", quote(e.Key.S))
			return
		}
		out.EABID, out.EABKey = e.ID.S, mac
	}
}

// tlsProfile translates tls_profile.
func tlsProfile(word string) certs.Profile {
	if word == "old" {
		return certs.Old
	}
	return certs.Intermediate
}

// siteCert finds where a site's certificate comes from.
func (k *checker) siteCert(s *Site, out *proxy.Site) {
	speaksTLS := slices.ContainsFunc(out.Listen, func(l proxy.Listen) bool {
		return l.Port <= 443 && 443 <= max(l.Port, l.PortEnd) || k.toldTLS(l)
	})
	files := s.Cert.Given() || s.Key.Given()
	switch {
	case s.Cert.Given() != s.Key.Given():
		k.mistake(s.Name.Pos, "site %q has one of cert and key; TLS needs both", s.Name.S)
	case files && s.TLS.Given():
		k.mistake(s.TLS.Pos, "site %q has tls = %q, and cert and key besides; write the one or the others", s.Name.S, s.TLS.S)
	case files || s.TLS.S == "off":
	case s.TLS.Given() && !speaksTLS && len(out.Listen) > 0:
		k.mistake(s.TLS.Pos, "site %q has tls = %q, and listens nowhere with TLS; write listen = \"tunnel:443\" too, or [listener.%q] with tls = true", s.Name.S, s.TLS.S, out.Listen[0])
	case s.TLS.S == "internal":
		out.CertSource = proxy.CertInternal
	case speaksTLS:
		out.CertSource = proxy.CertAuto
	}
	k.old(&s.service, files)
	named := slices.ContainsFunc(out.Hosts, func(h string) bool { return h != "default" })
	if out.CertSource != proxy.CertNone && !named && !k.asks() {
		k.warn(s.Name.Pos, "site %q has hosts = \"default\" only, so TLS clients that ask for a name get no certificate; write the names, cert and key, [acme] on_demand, or tls = \"off\"", s.Name.S)
	}
}

// toldTLS reports whether a listener speaks TLS whatever its port is.
func (k *checker) toldTLS(l proxy.Listen) bool {
	return slices.ContainsFunc(k.c.Listeners, func(in Listener) bool {
		other, err := proxy.ParseListen(in.Listen.S)
		return err == nil && in.TLS && other == l
	})
}

// plain warns of sites without a certificate on a port that speaks TLS for another one: no handshake ends for their names.
func (k *checker) plain(places []place) {
	secure := make(map[spot]*place)
	each := func(hasCert bool, do func(at spot, p *place) (further bool)) {
		for i := range places {
			p := &places[i]
			if p.site == nil || (p.site.Cert != "" || p.site.CertSource != proxy.CertNone) != hasCert {
				continue
			}
			for _, at := range p.spots() {
				if (at.port == 443 || k.toldTLS(p.Listen)) && !do(at, p) {
					break
				}
			}
		}
	}
	each(true, func(at spot, p *place) bool {
		if secure[at] == nil {
			secure[at] = p
		}
		return true
	})
	each(false, func(at spot, p *place) bool {
		other := secure[at]
		if other != nil {
			k.warn(p.pos, "listen %q speaks TLS for %s (%s), and %s has no certificate, so nobody gets to it there; write tls = \"auto\" or cert and key, or leave it out", p.Listen, other.service, other.pos, p.service)
		}
		return other == nil
	})
}

// forwardCert finds where a forward's certificate comes from.
func (k *checker) forwardCert(f *Forward, out *proxy.Forward) {
	files := f.Cert.Given() || f.Key.Given()
	automatic := f.TLS == "auto" || f.TLS == "internal"
	switch {
	case files && automatic:
		k.mistake(f.Name.Pos, "forward %q has tls = %q, and cert and key besides; write the one or the others", f.Name.S, f.TLS)
	case files && len(f.Hosts) > 0:
		k.mistake(f.Hosts[0].Pos, "hosts is what an automatic certificate is for, and forward %q has cert and key; take one of them away", f.Name.S)
	case f.TLS == "" && len(f.Hosts) > 0:
		k.mistake(f.Hosts[0].Pos, "hosts is what an automatic certificate is for; write tls = \"auto\" too, or sni to take connections by their name")
	case files || f.TLS == "":
	case f.TLS == "internal":
		out.CertSource = proxy.CertInternal
	default:
		out.CertSource = proxy.CertAuto
	}
	for _, h := range f.Hosts {
		out.CertNames = append(out.CertNames, h.S)
	}
	k.old(&f.service, files)
}

// old warns of what makes a certificate useless where it is in files.
func (k *checker) old(s *service, files bool) {
	if !files || !s.Cert.Given() || !s.Key.Given() {
		return
	}
	pair, err := certs.NewPair(relative(s.Cert), relative(s.Key))
	if err != nil {
		return // the proxy says so
	}
	if err := pair.Expired(); err != nil {
		k.warn(s.Cert.Pos, "%v", err)
	}
}

// asks reports whether certificates are ordered as clients ask for them.
func (k *checker) asks() bool { return k.c.ACME != nil && k.c.ACME.OnDemand.Given() }
