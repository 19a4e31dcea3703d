// Package acl is the one door for addresses: text becomes a canonical Addr
// or Prefix here, once, and rules decide here who may enter.
//
//	policy, err := acl.Compile([]acl.RuleText{
//		{Text: "deny blocked", Pos: acl.Pos{File: "genkan.toml", Line: 12, Col: 11}},
//		{Text: "limit 6/30s"},
//		{Text: "allow 192.0.2.0/24 2001:db8::/32"},
//	}, acl.Env{Lists: lists})
//	...
//	v := policy.Check(acl.Client{Addr: acl.AddrFrom(ap.Addr())})
//	if !v.Allow {
//		log.Info("denied", "client", client, "rule", v.Rule, "at", v.Pos, "why", v.Why)
//	}
//	defer v.Release()
//
// Three properties hold for every value of this package:
//
//   - IPv4 is never spelled ::ffff:a.b.c.d and no decision sees a zone.
//   - The zero Addr, Prefix, Policy and Verdict refuse.
//   - Nothing but ::ffff:0:0/96 is folded into IPv4. The IPv4 address inside
//     a 6to4, NAT64, Teredo, ISATAP, 6rd, SIIT or IPv4-compatible address may
//     satisfy a deny rule, never an allow rule: such sources cost nothing to
//     forge. The exception is written out as "allow 6rd:PREFIX".
//
// The package imports no other room of the program.
package acl
