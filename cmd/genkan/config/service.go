package config

import "time"

// A Site is [site."NAME"]: one HTTP service, found by the name in Host.
type Site struct {
	service
	Hosts        []Text // what Host may say; none: NAME alone
	TLS          Text   // "auto", "internal" or "off"; not given: "auto" where it listens on port 443, without cert and key
	NoRedirect   bool   // redirect_http = false: port 80 serves the site though port 443 has it
	Trust        []Text // prefixes or lists of peers whose header is believed
	TrustHeader  string // which one: "x-forwarded-for" (default) or "forwarded"
	PseudoHeader Text   // the name of the header that announce = ["pseudo-ipv4"] sets
	BackendTLS   BackendTLS
	Routes       []Route
	ClientCA     Text   // a PEM file, relative to the configuration file
	ClientCert   string // "required" (default) or "optional"
	Handling
	NoHTTP3 bool // http3 = false: not over HTTP/3
}

// A Forward is [forward.NAME]: one TCP or UDP service, found by its port and perhaps by SNI.
type Forward struct {
	service
	Hosts           []Text        // what an automatic certificate is for; none: SNI
	SNI             []Text        // names in the TLS ClientHello; none: all connections
	Passive         Text          // ports for the data of FTP
	TLS             string        // "implicit", "starttls", or "" for what the port says
	FTPRequire      []Text        // "login", "data", "reuse"
	Protocol        string        // "", "dns", "smtp", "imap", "pop3", "ssh" or "ftp"
	ECS             bool          // tells DNS servers the client's network
	AnnounceAddress string        // "client" (default) or "pool"
	Idle            time.Duration // no byte either way; 0: timeouts.idle
	Lifetime        time.Duration // of one connection; 0: 24h
	MaxSessions     int           // of UDP, for each socket; 0: 16384
}

// A service is what sites and forwards have in common.
type service struct {
	Name     Text
	Listen   []Text // proxy.ParseListen
	To       []Text // proxy.ParseBackend
	Access   []Text // rules, acl.Compile; nil: all may enter
	Shadow   bool   // mode = "shadow": rules are logged and counted, not obeyed
	Source   Text   // "own" (default), "pool", "pool:NAME" or "transparent"
	Announce []Text // how the backend learns the client; nil: the default
	Balance  string // "round-robin" (default), "least" or "hash"
	Check    Check
	MaxConns int  // at one backend at once; 0: no bound
	Cert     Text // PEM files for TLS, relative to the configuration file
	Key      Text
	Profile  string // tls_profile: "intermediate" (default) or "old"

	AccessLog Log

	AllowOpenRelay bool // the backend may take every client for the front itself

	hasAccess, hasListen, hasTo, hasAnnounce bool

	noTo bool // requests are answered without a backend, or by somebody else's
}

// A Check is check = { … }: a health check by TCP.
type Check struct {
	Interval time.Duration // between two; 0: no checks
	Timeout  time.Duration // of one; 0: 2s
	Send     string        // what is sent once connected
	Expect   string        // what the answer must contain
	Path     string        // asked for by HTTP; "": TCP alone
	Host     string        // of that request; "": the site's name
	Status   string        // of a good answer; "": "200-399"
	Rise     int           // successes in a row that bring a backend back; 0: 2
	Fall     int           // failures in a row that take it out; 0: 3
}

// common are the keys of sites and forwards. of finds the shared part in either.
func common[T any](of func(*T) *service, announce string) []field[T] {
	check := checkFields()
	return []field[T]{
		{"listen", `"tunnel:80" or a list of such`, "where clients come in: tunnel:PORT, V4:PORT, [V6]:PORT or :PORT for both families; udp/ in front for UDP; PORT-PORT for a range",
			func(d *decoder, t *T, v *value) { s := of(t); s.hasListen = true; s.Listen = d.texts(v) }},
		{"to", `"10.0.0.10:8080" or a list of such`, "the IPv4-only server or servers behind: V4:PORT or NAME:PORT; of a site, https:// in front for TLS, h2c:// for plain HTTP/2, h2:// for HTTP/2 over TLS",
			func(d *decoder, t *T, v *value) { s := of(t); s.hasTo = true; s.To = d.texts(v) }},
		{"access", `["allow 192.0.2.0/24", "deny all"]`, "the rules, read top to bottom; the first that matches decides, no match denies; leave it out to let all in",
			func(d *decoder, t *T, v *value) {
				s := of(t)
				s.hasAccess = true
				s.Access = d.rules(v)
			}},
		{"mode", `"shadow"`, "\"enforce\" obeys the rules (default), \"shadow\" only logs and counts what they would deny",
			func(d *decoder, t *T, v *value) { of(t).Shadow = d.choice(v, "enforce", "shadow") == "shadow" }},
		{"source", `"pool"`, "the address that the backend sees: \"own\" (default), \"pool\", \"pool:NAME\" or \"transparent\"",
			func(d *decoder, t *T, v *value) { of(t).Source = d.text(v) }},
		{"announce", announce, "how the backend learns who the client is, always a list",
			func(d *decoder, t *T, v *value) { of(t).Announce, of(t).hasAnnounce = d.list(v), true }},
		{"balance", `"least"`, "which of several backends: \"round-robin\" (default), \"least\" connections or \"hash\" of the client",
			func(d *decoder, t *T, v *value) { of(t).Balance = d.choice(v, "round-robin", "least", "hash") }},
		{"check", `{ interval = "5s" }`, "a health check of each backend by TCP, or with path by HTTP",
			func(d *decoder, t *T, v *value) { sub(d, v, check, &of(t).Check) }},
		{"max_conns", `100`, "how much one backend is given at once; no bound without it",
			func(d *decoder, t *T, v *value) { of(t).MaxConns = d.number(v, 1, 1<<20) }},
		{"cert", `"/etc/ssl/www.example.jp.pem"`, "the certificate with its chain, PEM; sites speak TLS on port 443, a forward on all its ports, and the server behind speaks plain",
			func(d *decoder, t *T, v *value) { of(t).Cert = d.text(v) }},
		{"key", `"/etc/ssl/www.example.jp.key"`, "the certificate's key, PEM",
			func(d *decoder, t *T, v *value) { of(t).Key = d.text(v) }},
		{"tls_profile", `"old"`, "which TLS clients must speak, after Mozilla: \"intermediate\" (default), TLS 1.2 and 1.3, or \"old\" for those who need TLS 1.0",
			func(d *decoder, t *T, v *value) { of(t).Profile = d.choice(v, "intermediate", "old") }},
		{"access_log", `"/var/log/genkan/www.log" or { to = "…", format = "json" }`, "in the place of log.access; \"off\" for none",
			func(d *decoder, t *T, v *value) { of(t).AccessLog = d.accessLog(v) }},
		{"allow_open_relay", `true`, "lets mail and DNS servers see all clients as the front's own address",
			func(d *decoder, t *T, v *value) { of(t).AllowOpenRelay = d.boolean(v) }},
	}
}

// rules reads access: a list, or one rule as a string. It is never nil: what was written and cannot be read
// must not turn into "absent", which lets all in.
func (d *decoder) rules(v *value) []Text {
	all := []Text{}
	if v.kind == array && len(v.items) == 0 {
		d.mistake(v.pos, `access: the list is empty; write access = ["deny all"], or leave the key out to let all in`)
	}
	return append(all, d.texts(v)...)
}

func siteFields() []field[Site] {
	own := append(common(func(s *Site) *service { return &s.service }, `["x-forwarded-for"]`), []field[Site]{
		{"hosts", `["www.example.jp", "*.example.jp"]`, "what Host may say: names, *.NAME, or \"default\" for all else; without it the site's own name",
			func(d *decoder, s *Site, v *value) { s.Hosts = d.texts(v) }},
		{"backend_tls", `{ ca = "backend.pem" }`, "how a backend with https:// or h2:// in to proves who it is",
			func(d *decoder, s *Site, v *value) {
				s.BackendTLS.Given = true
				sub(d, v, backendTLSFields(), &s.BackendTLS)
			}},
		{"tls", `"internal"`, "where the certificate comes from without cert and key: \"auto\" (default on port 443), an ACME CA, or for private names and addresses our own, \"internal\", always our own, or \"off\"",
			func(d *decoder, s *Site, v *value) {
				if word := d.choice(v, "auto", "internal", "off"); word != "" {
					s.TLS = Text{word, v.pos}
				}
			}},
		{"redirect_http", `false`, "whether port 80 sends clients to https:// where port 443 of the same address has the site; true (default) or false",
			func(d *decoder, s *Site, v *value) { s.NoRedirect = !d.boolean(v) }},
		{"http3", `false`, "whether the site is served over HTTP/3, too, by UDP on its ports that speak TLS; true (default) or false",
			func(d *decoder, s *Site, v *value) { s.NoHTTP3 = !d.boolean(v) }},
		{"trust", `["10.9.0.0/24"]`, "proxies in front of us whose header about the client is believed: prefixes or names of lists",
			func(d *decoder, s *Site, v *value) { s.Trust = d.texts(v) }},
		{"trust_header", `"x-forwarded-for"`, "the one header that is believed from them: \"x-forwarded-for\" (default) or \"forwarded\"",
			func(d *decoder, s *Site, v *value) { s.TrustHeader = d.choice(v, "x-forwarded-for", "forwarded") }},
		{"pseudo_header", `"Pseudo-IPv4"`, "the header of announce = [\"pseudo-ipv4\"]; the real address of an IPv6 client is in X-Client-IPv6",
			func(d *decoder, s *Site, v *value) { s.PseudoHeader = d.text(v) }},
	}...)
	own = append(own, clientCertFields()...)
	own = append(own, handlingFields(func(s *Site) *Handling { return &s.Handling })...)
	route := routeFields()
	return append(own, field[Site]{"route", `[[site."www.example.jp".route]]`, "a part of the site, found by its path; may be repeated",
		func(d *decoder, s *Site, v *value) { s.Routes = d.routes(v, s.Name, route) }})
}

func clientCertFields() []field[Site] {
	return []field[Site]{
		{"client_ca", `"clients-ca.pem"`, "asks clients for a certificate of these authorities, PEM; backends learn it in X-SSL-Client-Verify, -S-DN, -Serial and Client-Cert (RFC 9440)",
			func(d *decoder, s *Site, v *value) { s.ClientCA = d.text(v) }},
		{"client_cert", `"optional"`, "with client_ca: \"required\" (default), or \"optional\", where X-SSL-Client-Verify is NONE without one",
			func(d *decoder, s *Site, v *value) { s.ClientCert = d.choice(v, "required", "optional") }},
	}
}

func forwardFields() []field[Forward] {
	return append(common(func(f *Forward) *service { return &f.service }, `["proxy-v2"]`), []field[Forward]{
		{"hosts", `["mail.example.jp"]`, "the names that an automatic certificate is for; those of sni without it",
			func(d *decoder, f *Forward, v *value) { f.Hosts = d.texts(v) }},
		{"sni", `["mail.example.jp"]`, "takes only TLS connections to these names (with ECH, the public one); *.NAME is possible; all others go to the listener's forward or sites without sni, else they are reset",
			func(d *decoder, f *Forward, v *value) { f.SNI = d.texts(v) }},
		{"protocol", `"smtp"`, "what the bytes are, for sensible defaults, which check shows: \"dns\", \"smtp\", \"imap\", \"pop3\", \"ssh\" or \"ftp\"",
			func(d *decoder, f *Forward, v *value) {
				f.Protocol = d.choice(v, "dns", "smtp", "imap", "pop3", "ssh", "ftp")
			}},
		{"tls", `"starttls"`, "\"implicit\" TLS from the first byte (default with cert and key but for FTP, where only port 990 is), or \"starttls\" of protocol smtp, imap, pop3 or ftp, where imap and pop3 take no password before; without cert and key the certificate comes by itself, and \"auto\" and \"internal\" say from whom, as of a site",
			func(d *decoder, f *Forward, v *value) {
				f.TLS = d.choice(v, "implicit", "starttls", "auto", "internal")
			}},
		{"passive", `"50000-50099"`, "of protocol \"ftp\": the ports for data, best the server's own passive range, with which TLS that the server ends works, too",
			func(d *decoder, f *Forward, v *value) { f.Passive = d.text(v) }},
		{"ftp_require", `["login", "data", "reuse"]`, "of protocol \"ftp\" with cert and key, what clients must do: TLS before \"login\", TLS for \"data\", and \"reuse\" of the control connection's TLS session for data; nothing (default)",
			func(d *decoder, f *Forward, v *value) { f.FTPRequire = d.texts(v) }},
		{"ecs", `true`, "of protocol \"dns\": whether queries with EDNS tell the server the client's network, /56 or /24 (RFC 7871); false (default)",
			func(d *decoder, f *Forward, v *value) { f.ECS = d.boolean(v) }},
		{"announce_address", `"pool"`, "which address announce tells: the \"client\" (default), or its address in the \"pool\"",
			func(d *decoder, f *Forward, v *value) { f.AnnounceAddress = d.choice(v, "client", "pool") }},
		{"idle", `"1h"`, "closes a connection, or a UDP session, after so long without a byte",
			func(d *decoder, f *Forward, v *value) { f.Idle = d.duration(v) }},
		{"lifetime", `"24h"`, "closes a connection after so long",
			func(d *decoder, f *Forward, v *value) { f.Lifetime = d.duration(v) }},
		{"max_sessions", `16384`, "UDP sessions at once on each port, of each family",
			func(d *decoder, f *Forward, v *value) { f.MaxSessions = d.number(v, 1, 1<<22) }},
	}...)
}

func checkFields() []field[Check] {
	return []field[Check]{
		{"interval", `"5s"`, "the time between two checks", func(d *decoder, c *Check, v *value) { c.Interval = d.duration(v) }},
		{"timeout", `"2s"`, "of one check", func(d *decoder, c *Check, v *value) { c.Timeout = d.duration(v) }},
		{"send", `"PING\r\n"`, "what is sent once connected", func(d *decoder, c *Check, v *value) { c.Send = d.text(v).S }},
		{"expect", `"+PONG"`, "what the answer must contain", func(d *decoder, c *Check, v *value) { c.Expect = d.text(v).S }},
		{"path", `"/healthz"`, "asked for by HTTP, in the way in which the backend is spoken to; by TCP alone without it", func(d *decoder, c *Check, v *value) { c.Path = d.text(v).S }},
		{"host", `"www.example.jp"`, "Host of that request; the site's name without it", func(d *decoder, c *Check, v *value) { c.Host = d.text(v).S }},
		{"status", `"200-399"`, "of a good answer to it: one or a range, \"200-399\" by default", func(d *decoder, c *Check, v *value) { c.Status = d.text(v).S }},
		{"rise", `2`, "successes in a row that bring a backend back", func(d *decoder, c *Check, v *value) { c.Rise = d.number(v, 1, 100) }},
		{"fall", `3`, "failures in a row that take it out", func(d *decoder, c *Check, v *value) { c.Fall = d.number(v, 1, 100) }},
	}
}
