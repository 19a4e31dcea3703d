package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"genkan/acl"
	"genkan/proxy"
	"genkan/proxy/dnsupdate"
)

// A DNSUpdate is [tunnel.dns_update]: whose records follow the tunnel's address, and where.
type DNSUpdate struct {
	Pos    acl.Pos       // of the header
	Server Text          // the primary name server: an address or a name, with :PORT or without
	Key    Text          // the file of its TSIG key
	Names  []Text        // that get an AAAA record; nil: those of all sites of the tunnel
	PTR    Text          // what the address's PTR record says, "off" for none; not given: the first of the names
	TTL    time.Duration // 0: 5m
}

func dnsUpdateFields() []field[DNSUpdate] {
	return []field[DNSUpdate]{
		{"server", `"192.0.2.53"`, "the primary name server of the zones, with :PORT where that is not 53",
			func(d *decoder, u *DNSUpdate, v *value) { u.Server = d.text(v) }},
		{"key", `"/etc/genkan/update.key"`, "the file of its TSIG key, as tsig-keygen writes it; by systemd \"${CREDENTIALS_DIRECTORY}/NAME\"",
			func(d *decoder, u *DNSUpdate, v *value) { u.Key = d.text(v) }},
		{"names", `["www.example.jp"]`, "what gets an AAAA record; without it the names of all sites that listen on the tunnel",
			func(d *decoder, u *DNSUpdate, v *value) { u.Names = d.texts(v) }},
		{"ptr", `"www.example.jp"`, "what the PTR record of our address says: without it the first of the names; \"off\" for none",
			func(d *decoder, u *DNSUpdate, v *value) { u.PTR = d.text(v) }},
		{"ttl", `"5m"`, "of the records", func(d *decoder, u *DNSUpdate, v *value) { u.TTL = d.duration(v) }},
	}
}

// DNSRecords are the records that follow the tunnel's address.
type DNSRecords struct {
	Client dnsupdate.Client
	Names  []string // with an AAAA record each; with the dot at their end
	PTR    string   // likewise; "": none
	TTL    uint32   // seconds
}

// dnsUpdate translates [tunnel.dns_update]; nil where there is none.
func (k *checker) dnsUpdate(sites []proxy.Site) *DNSRecords {
	if k.c.Tunnel == nil || k.c.Tunnel.DNSUpdate == nil || k.anyDamage() {
		return nil
	}
	u := k.c.Tunnel.DNSUpdate
	out := &DNSRecords{TTL: 300}
	if u.TTL > 0 {
		out.TTL = uint32(max(1, u.TTL/time.Second))
	}
	if !u.Server.Given() {
		k.mistake(u.Pos, "[tunnel.dns_update] has no server; write server = \"192.0.2.53\", the primary name server")
	}
	if !u.Key.Given() {
		k.mistake(u.Pos, "[tunnel.dns_update] has no key; write key = \"/etc/genkan/update.key\", made by tsig-keygen")
	}
	out.Client.Server = k.nameServer(u.Server)
	out.Client.Key = k.tsigKey(u.Key)
	for _, t := range u.Names {
		if name, ok := k.domainName(t, "names"); ok && !slices.Contains(out.Names, name) {
			out.Names = append(out.Names, name)
		}
	}
	if u.Names == nil {
		out.Names = siteNames(sites)
	}
	switch {
	case u.PTR.S == "off":
	case u.PTR.Given():
		out.PTR, _ = k.domainName(u.PTR, "ptr")
	case len(out.Names) > 0:
		out.PTR = out.Names[0]
	}
	if len(out.Names) == 0 && out.PTR == "" {
		k.mistake(u.Pos, "[tunnel.dns_update] has nothing to write: no site with a name listens on the tunnel; write names = [\"www.example.jp\"]")
	}
	return out
}

// siteNames are the names in full of the sites that clients reach through the tunnel.
func siteNames(sites []proxy.Site) []string {
	var all []string
	for _, s := range sites {
		if !slices.ContainsFunc(s.Listen, func(l proxy.Listen) bool { return l.Tunnel }) {
			continue
		}
		for _, h := range s.Hosts {
			_, isAddress := netip.ParseAddr(strings.Trim(h, "[]"))
			name := dns.CanonicalName(h)
			if isAddress != nil && strings.Contains(h, ".") && !strings.HasPrefix(h, "*") && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// domainName reads a name for a record.
func (k *checker) domainName(t Text, key string) (string, bool) {
	if _, ok := dns.IsDomainName(t.S); !ok || !strings.Contains(strings.Trim(t.S, "."), ".") || strings.ContainsAny(t.S, " /\\\"'@:") {
		k.mistake(t.Pos, "%s %s: no name in full, such as \"www.example.jp\"", key, quote(t.S))
		return "", false
	}
	return dns.CanonicalName(t.S), true
}

// nameServer reads server, and completes it by port 53.
func (k *checker) nameServer(t Text) string {
	if !t.Given() {
		return ""
	}
	const domain = "53"
	if a, err := acl.ParseAddr(t.S); err == nil {
		return net.JoinHostPort(a.String(), domain)
	}
	text := t.S
	if !strings.Contains(text, ":") || strings.HasSuffix(text, "]") {
		text += ":" + domain
	}
	at, err := acl.ParseHostPort(text)
	switch {
	case err != nil:
		k.mistake(t.Pos, "server %v", err)
	case at.Port == 0 || at.Name == "" && !at.Addr.IsValid():
		k.mistake(t.Pos, "server %s: no name server; write \"192.0.2.53\" or \"[2001:db8::53]:53\"", quote(t.S))
	case at.Name != "":
		return net.JoinHostPort(at.Name, strconv.Itoa(int(at.Port)))
	default:
		return net.JoinHostPort(at.Addr.String(), strconv.Itoa(int(at.Port)))
	}
	return ""
}

// tsigKey reads the key file.
func (k *checker) tsigKey(t Text) dnsupdate.Key {
	if !t.Given() {
		return dnsupdate.Key{}
	}
	key, err := dnsupdate.ReadKey(relative(t))
	if err != nil {
		k.mistake(t.Pos, "key: %v", err)
	}
	return key
}
