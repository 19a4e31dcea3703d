package config

import (
	"time"

	"genkan/acl"
)

// A Tunnel is [tunnel]: how this host gets its IPv6.
type Tunnel struct {
	Pos         acl.Pos    // of the header
	Kind        string     // "6rd" (default) or "6in4"
	Role        string     // "edge" (default) or "relay"
	Prefix      Prefix     // the provider's 6rd prefix
	IPv4MaskLen int        // leading IPv4 bits that the whole domain shares, 0–32
	IPv4Common  Prefix     // of a relay beside its domain: those bits
	Relays      []acl.Addr // the border relays, IPv4
	Remote      acl.Addr   // of 6in4: the other end, IPv4
	Address     Text       // of 6in4: our address with its prefix length
	Routed      []Prefix   // of 6in4: what the broker routes to us besides
	Local       acl.Addr   // our IPv4 address; zero: the source address towards the relay
	MTU         int        // 1280–65515; 0: 1280, -1: probed
	TTL         int        // of the outer packets; 0: 64
	Interface   Text       // its name; not given: tun6rd
	Datapath    string     // "auto" (default), "kernel", "ebpf" or "userspace"
	Expose      string     // "listeners" (default) or "all"
	Anycast     bool       // local is shared by several relays
	DHCP        bool       // prefix, mask and relays are the lease's
	DNSUpdate   *DNSUpdate // nil: DNS is the operator's
}

func tunnelFields() []field[Tunnel] {
	return []field[Tunnel]{
		{"prefix", `"2001:e41::/32"`, "the provider's 6rd prefix",
			func(d *decoder, t *Tunnel, v *value) { t.Prefix = d.prefix(v) }},
		{"relays", `["61.211.224.125"]`, "the provider's border relays",
			func(d *decoder, t *Tunnel, v *value) {
				for _, text := range d.texts(v) {
					t.Relays = append(t.Relays, d.addr4(text))
				}
			}},
		{"dhcp", `true`, "prefix, ipv4_mask_len and relays are what the provider gives by DHCPv4 (option 212, RFC 5969 §7.1.1), and are followed",
			func(d *decoder, t *Tunnel, v *value) { t.DHCP = d.boolean(v) }},
		{"local", `"auto"`, "our IPv4 address; \"auto\" (default) is the source address towards the relay",
			func(d *decoder, t *Tunnel, v *value) {
				if text := d.text(v); text.Given() && text.S != "auto" {
					t.Local = d.addr4(text)
				}
			}},
		{"ipv4_mask_len", `0`, "RFC 5969 §7.1.1: IPv4 bits that the whole domain shares",
			func(d *decoder, t *Tunnel, v *value) { t.IPv4MaskLen = d.number(v, 0, 32) }},
		{"ipv4_common", `"10.0.0.0/8"`, "of the relay role: the ipv4_mask_len bits that the edges share, where local is not one of theirs; then `address` is the relay's IPv6 address",
			func(d *decoder, t *Tunnel, v *value) { t.IPv4Common = d.prefix(v) }},
		{"mtu", `1280`, "of the tunnel: 1280 (default) to 65515, or \"auto\"",
			func(d *decoder, t *Tunnel, v *value) {
				if v.kind == text && v.text == "auto" {
					t.MTU = -1
					return
				}
				t.MTU = d.number(v, 1280, 65515)
			}},
		{"ttl", `64`, "of the outer packets", func(d *decoder, t *Tunnel, v *value) { t.TTL = d.number(v, 1, 255) }},
		{"interface", `"tun6rd"`, "the name of its interface", func(d *decoder, t *Tunnel, v *value) { t.Interface = d.text(v) }},
		{"datapath", `"auto"`, "who moves the packets: \"auto\" (default), \"kernel\", \"ebpf\" or \"userspace\"",
			func(d *decoder, t *Tunnel, v *value) {
				t.Datapath = d.choice(v, "auto", "kernel", "ebpf", "userspace")
			}},
		{"expose", `"listeners"`, "what the tunnel lets in: our \"listeners\" only (default), or \"all\"",
			func(d *decoder, t *Tunnel, v *value) { t.Expose = d.choice(v, "listeners", "all") }},
		{"kind", `"6rd"`, "\"6rd\" (default), or \"6in4\" for a tunnel broker",
			func(d *decoder, t *Tunnel, v *value) { t.Kind = d.choice(v, "6rd", "6in4") }},
		{"role", `"edge"`, "\"edge\" (default), or \"relay\" to be the border relay of a domain",
			func(d *decoder, t *Tunnel, v *value) { t.Role = d.choice(v, "edge", "relay") }},
		{"remote", `"198.51.100.1"`, "of 6in4: the broker's IPv4 address",
			func(d *decoder, t *Tunnel, v *value) {
				if text := d.text(v); text.Given() {
					t.Remote = d.addr4(text)
				}
			}},
		{"address", `"2001:db8:100::2/64"`, "of 6in4: our IPv6 address with the length of the link's prefix",
			func(d *decoder, t *Tunnel, v *value) { t.Address = d.text(v) }},
		{"routed", `["2001:db8:200::/48"]`, "of 6in4: prefixes that the broker routes to us besides",
			func(d *decoder, t *Tunnel, v *value) { t.Routed = d.prefixes(v) }},
		{"dns_update", `[tunnel.dns_update]`, "lets AAAA and PTR records follow the tunnel's address (RFC 2136, TSIG)",
			func(d *decoder, t *Tunnel, v *value) {
				t.DNSUpdate = &DNSUpdate{Pos: v.pos}
				if sub(d, v, dnsUpdateFields(), t.DNSUpdate) {
					t.DNSUpdate.Pos = v.table.pos
				}
			}},
		{"anycast", `true`, "of the relay role: local is an address that several relays share",
			func(d *decoder, t *Tunnel, v *value) { t.Anycast = d.boolean(v) }},
	}
}

// A Listener is [listener."tunnel:25"]: what sites and forwards on one listener share.
type Listener struct {
	Listen      Text     // proxy.ParseListen
	AcceptProxy []Prefix // who must send a PROXY header; nobody else may
	TLS         bool     // the sites there speak TLS, as they do on port 443
}

func listenerFields() []field[Listener] {
	return []field[Listener]{
		{"accept_proxy", `["10.9.0.0/24"]`, "load balancers in front of us: the PROXY protocol is required from these and refused from others",
			func(d *decoder, l *Listener, v *value) {
				if l.AcceptProxy = d.prefixes(v); v.kind == array && len(v.items) == 0 {
					d.mistake(v.pos, "accept_proxy: the list is empty; write who sends the PROXY header, or leave the key out where nobody does")
				}
			}},
		{"tls", `true`, "sites on a port other than 443 speak TLS there",
			func(d *decoder, l *Listener, v *value) { l.TLS = d.boolean(v) }},
	}
}

// A Pool is [pool.NAME]: private IPv4 addresses, one an IPv6 /64.
type Pool struct {
	Name       Text
	Prefix     Prefix
	Quarantine time.Duration // before an address is given to another; 0: 24h
	Per48      int           // addresses that one /48 may hold; 0: 1/64 of the pool
}

func poolFields() []field[Pool] {
	return []field[Pool]{
		{"prefix", `"100.64.0.0/16"`, "the addresses, IPv4 and routed to this host by the backends",
			func(d *decoder, p *Pool, v *value) { p.Prefix = d.prefix(v) }},
		{"quarantine", `"24h"`, "how long an address rests before another client gets it: longer than the longest ban",
			func(d *decoder, p *Pool, v *value) { p.Quarantine = d.duration(v) }},
		{"per_48", `1024`, "how many addresses one IPv6 /48 may hold",
			func(d *decoder, p *Pool, v *value) { p.Per48 = d.number(v, 1, 1<<24) }},
	}
}

// Timeouts is [timeouts]: the bounds of every wait. Zero is the default of each.
type Timeouts struct {
	Header, Dial, Idle, Lifetime, KeepIdle, Request   time.Duration
	Handshake, Body, BodyGrace, Write, UDPIdle, Drain time.Duration
}

func timeoutFields() []field[Timeouts] {
	return []field[Timeouts]{
		{"header", `"5s"`, "PROXY header, TLS ClientHello, HTTP request header", func(d *decoder, t *Timeouts, v *value) { t.Header = d.duration(v) }},
		{"dial", `"5s"`, "to connect to one backend", func(d *decoder, t *Timeouts, v *value) { t.Dial = d.duration(v) }},
		{"idle", `"1h"`, "no byte either way on a forward", func(d *decoder, t *Timeouts, v *value) { t.Idle = d.duration(v) }},
		{"lifetime", `"24h"`, "of a forwarded connection, or of an HTTP request with its answer", func(d *decoder, t *Timeouts, v *value) { t.Lifetime = d.duration(v) }},
		{"keep_idle", `"60s"`, "an HTTP connection between two requests", func(d *decoder, t *Timeouts, v *value) { t.KeepIdle = d.duration(v) }},
		{"request", `"60s"`, "until a backend's answer to an HTTP request begins", func(d *decoder, t *Timeouts, v *value) { t.Request = d.duration(v) }},
		{"handshake", `"10s"`, "a TLS handshake", func(d *decoder, t *Timeouts, v *value) { t.Handshake = d.duration(v) }},
		{"body", `"30s"`, "until the next bytes of a request's content", func(d *decoder, t *Timeouts, v *value) { t.Body = d.duration(v) }},
		{"body_grace", `"10s"`, "how long a request's content may be slower than limits.body_rate", func(d *decoder, t *Timeouts, v *value) { t.BodyGrace = d.duration(v) }},
		{"write", `"30s"`, "how long an HTTP client may take nothing of its answer", func(d *decoder, t *Timeouts, v *value) { t.Write = d.duration(v) }},
		{"udp_idle", `"60s"`, "no datagram either way in a UDP session", func(d *decoder, t *Timeouts, v *value) { t.UDPIdle = d.duration(v) }},
		{"drain", `"30s"`, "what is still open this long after the stop is cut", func(d *decoder, t *Timeouts, v *value) { t.Drain = d.duration(v) }},
	}
}
