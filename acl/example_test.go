package acl_test

import (
	"fmt"
	"net/netip"
	"time"

	"genkan/acl"
)

func Example() {
	blocked, _ := acl.ParsePrefix("198.51.100.0/24")
	policy, err := acl.Compile([]acl.RuleText{
		{Text: "deny blocked", Pos: acl.Pos{File: "genkan.toml", Line: 12, Col: 11}},
		{Text: "limit 6/30s", Pos: acl.Pos{File: "genkan.toml", Line: 12, Col: 27}},
		{Text: "allow 192.0.2.0/24 2001:db8::/32", Pos: acl.Pos{File: "genkan.toml", Line: 12, Col: 42}},
	}, acl.Env{Lists: map[string]*acl.List{"blocked": acl.NewList(acl.SetOf(blocked))}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, peer := range []string{"::ffff:192.0.2.1", "2001:db8::1", "198.51.100.7", "2002:c633:6407::1", "203.0.113.1"} {
		client := acl.Client{Addr: acl.AddrFrom(netip.MustParseAddr(peer))}
		v := policy.Check(client)
		fmt.Println(client.Addr, v.Allow, v.Pos, policy.Explain(client, time.Time{}, nil).Verdict.Why)
		v.Release()
	}
	// Output:
	// 192.0.2.1 true genkan.toml:12:42 192.0.2.1 is in 192.0.2.0/24
	// 2001:db8::1 true genkan.toml:12:42 2001:db8::1 is in 2001:db8::/32
	// 198.51.100.7 false genkan.toml:12:11 198.51.100.7 is in list "blocked" as 198.51.100.0/24
	// 2002:c633:6407::1 false genkan.toml:12:11 2002:c633:6407::1 has 198.51.100.7 inside (6to4), which is in list "blocked" as 198.51.100.0/24
	// 203.0.113.1 false  no rule matches, and the default is deny
}
