// Package dnsupdate changes records on a name server by DNS UPDATE (RFC 2136),
// signed with TSIG (RFC 8945):
//
//	key, err := dnsupdate.ReadKey("/etc/genkan/update.key")    // as tsig-keygen writes it
//	c := dnsupdate.Client{Server: "192.0.2.53:53", Key: key}
//	zone, err := c.Zone(ctx, "www.example.jp")                 // "example.jp."
//	err = c.Update(ctx, zone, dnsupdate.Change{
//		Remove: []dns.RR{old}, Add: []dns.RR{next},            // both, or neither
//	})
//
// The tunnel's AAAA and PTR records follow its address by it, and ACME's
// DNS-01 puts its TXT records there.
package dnsupdate
