package tunnel_test

import (
	"net/netip"
	"testing"

	"genkan/tunnel"
)

// Every mistake that can be seen without touching the host, in whole words.
func TestValidate(t *testing.T) {
	relay := []netip.Addr{netip.MustParseAddr("61.211.224.125")}
	good := tunnel.Config{Prefix: netip.MustParsePrefix("2001:e41::/32"), Relays: relay}
	sixIn4 := tunnel.Config{Kind: tunnel.Kind6in4, Remote: relay[0], Address: netip.MustParsePrefix("2001:db8:100::2/64")}
	beside := tunnel.Config{Role: tunnel.RoleRelay, Prefix: good.Prefix, Local: relay[0], IPv4MaskLen: 8,
		IPv4Common: netip.MustParsePrefix("10.0.0.0/8"), Address: netip.MustParsePrefix("2001:db8::1/128")}
	with := func(c tunnel.Config, change func(*tunnel.Config)) tunnel.Config {
		change(&c)
		return c
	}
	for _, row := range []struct {
		cfg  tunnel.Config
		want string
	}{
		{good, "no error"},
		{sixIn4, "no error"},
		{tunnel.Config{}, "tunnel: no relays; write the provider's border relay, such as relays = [\"192.0.2.1\"]\n" +
			"tunnel: sixrd: no 6rd prefix; write the provider's, as \"2001:db8::/32\""},
		{with(good, func(c *tunnel.Config) { c.Kind = "gre" }), `tunnel: kind "gre": unknown; write "6rd" or "6in4"`},
		{with(good, func(c *tunnel.Config) { c.Datapath = "fast" }),
			`tunnel: datapath "fast": unknown; write "auto", "kernel", "ebpf" or "userspace"`},
		{with(good, func(c *tunnel.Config) { c.Expose = "none" }), `tunnel: expose "none": unknown; write "listeners" or "all"`},
		{with(good, func(c *tunnel.Config) { c.MTU = 1279 }), "tunnel: mtu 1279: outside 1280 to 65515"},
		{with(good, func(c *tunnel.Config) { c.MTU = 65516 }), "tunnel: mtu 65516: outside 1280 to 65515"},
		{with(good, func(c *tunnel.Config) { c.MTU = tunnel.MTUAuto }), "no error"},
		{with(good, func(c *tunnel.Config) { c.TTL = 256 }), "tunnel: ttl 256: outside 1 to 255"},
		{with(good, func(c *tunnel.Config) { c.Interface = "a/b" }),
			`tunnel: interface "a/b": not a name Linux accepts; at most 15 characters, without space, slash, colon or percent`},
		{with(good, func(c *tunnel.Config) { c.Interface = "default" }),
			`tunnel: interface "default": not a name Linux accepts; at most 15 characters, without space, slash, colon or percent`},
		{with(good, func(c *tunnel.Config) { c.Interface = "tun\x00" }),
			`tunnel: interface "tun\x00": not a name Linux accepts; at most 15 characters, without space, slash, colon or percent`},
		{with(good, func(c *tunnel.Config) { c.Interface = "sixteen-letters-" }),
			`tunnel: interface "sixteen-letters-": not a name Linux accepts; at most 15 characters, without space, slash, colon or percent`},
		{with(good, func(c *tunnel.Config) { c.Local = netip.MustParseAddr("127.0.0.1") }), `tunnel: local "127.0.0.1": not a unicast IPv4 address`},
		{with(good, func(c *tunnel.Config) { c.Local = netip.MustParseAddr("::ffff:192.0.2.1") }),
			"tunnel: local \"::ffff:192.0.2.1\": not a unicast IPv4 address"},
		{with(good, func(c *tunnel.Config) { c.Relays = []netip.Addr{netip.MustParseAddr("224.0.0.1")} }),
			"tunnel: relay \"224.0.0.1\": not a unicast IPv4 address\n" +
				"tunnel: sixrd: relay \"224.0.0.1\" is not a unicast address; write the border relay's IPv4 address"},
		{with(good, func(c *tunnel.Config) { c.Role = tunnel.RoleRelay }), `tunnel: role "relay" needs local, the relay's own IPv4 address`},
		{with(good, func(c *tunnel.Config) { c.IPv4MaskLen, c.IPv4Common = 8, netip.MustParsePrefix("61.0.0.0/8") }),
			`tunnel: ipv4_common "61.0.0.0/8": for the role "relay" only; an edge's own IPv4 address has these bits`},
		{with(beside, func(*tunnel.Config) {}), "no error"},
		{with(beside, func(c *tunnel.Config) { c.Local, c.Address = netip.MustParseAddr("10.0.0.1"), netip.Prefix{} }), "no error"},
		{with(beside, func(c *tunnel.Config) { c.IPv4MaskLen = 9 }),
			`tunnel: ipv4_common "10.0.0.0/8": not the IPv4 prefix of ipv4_mask_len (9) bits that all edges share, such as 10.0.0.0/8 with 8`},
		{with(beside, func(c *tunnel.Config) { c.Address = netip.Prefix{} }),
			`tunnel: local "61.211.224.125" is outside of ipv4_common "10.0.0.0/8" and so has no 6rd address; write address, an IPv6 address for the relay, such as 2001:db8::1/128`},
		{with(good, func(c *tunnel.Config) { c.Role = "server" }), `tunnel: role "server": unknown; write "edge" or "relay"`},
		{with(sixIn4, func(c *tunnel.Config) { c.Remote = netip.Addr{} }), `tunnel: remote "invalid IP": not a unicast IPv4 address`},
		{with(sixIn4, func(c *tunnel.Config) { c.Address = netip.MustParsePrefix("192.0.2.0/24") }),
			`tunnel: address "192.0.2.0/24": not an IPv6 address with a prefix length, such as 2001:db8::2/64`},
	} {
		if got := errText(row.cfg.Validate()); got != row.want {
			t.Errorf("%+v\n got %s\nwant %s", row.cfg, got, row.want)
		}
	}
}
