package acl

import (
	"fmt"
	"strings"
	"testing"
)

// Each spelling that other programs take is refused with the right one.
func TestMistakesShowTheRightSpelling(t *testing.T) {
	for _, row := range []struct {
		kind       Kind
		text, want string
	}{
		{KindAddr, "", `"": empty; write an address such as "192.0.2.1" or "2001:db8::1"`},
		{KindAddr, "010.8.8.8", `"010.8.8.8": a leading zero means octal to some programs; write "10.8.8.8" (or "8.8.8.8" if octal was meant)`},
		{KindAddr, "192.0.02.1", `"192.0.02.1": leading zeros; write "192.0.2.1"`},
		{KindAddr, "0x7f.0.0.1", `"0x7f.0.0.1": hexadecimal; write "127.0.0.1"`},
		{KindAddr, "127.1", `"127.1": short form; write "127.0.0.1"`},
		{KindAddr, "2130706433", `"2130706433": short form; write "127.0.0.1"`},
		{KindAddr, "::ffff:0300.0.2.1", `"::ffff:0300.0.2.1": ambiguous IPv4 tail; write "192.0.2.1"`},
		{KindAddr, "::ffff:127.0.0.1%eth0", `"::ffff:127.0.0.1%eth0": only a link-local address (fe80::/10) has a zone; write "127.0.0.1"`},
		{KindAddr, "fe80::1%", `"fe80::1%": empty zone; write "fe80::1" or name the interface`},
		{KindAddr, "fe80::1%a b", `"fe80::1%a b": the zone "a b" is no interface name`},
		{KindAddr, "[192.0.2.1]", `"[192.0.2.1]": brackets are for IPv6; write "192.0.2.1"`},
		{KindAddr, "[::1", `"[::1": "[" without "]" at the end`},
		{KindXFF, "2001:db8::1:51234", `"2001:db8::1:51234": not an IPv6 address; with a port, write "[2001:db8::1]:51234"`},
		{KindPrefix, "10.1.2.3/8", `"10.1.2.3/8": host bits set; write "10.0.0.0/8"`},
		{KindPrefix, "::ffff:192.0.2.77/120", `"::ffff:192.0.2.77/120": host bits set; write "192.0.2.0/24"`},
		{KindPrefix, "1.2.3.4/0", `"1.2.3.4/0": host bits set; write "0.0.0.0/0" if everybody is meant`},
		{KindPrefix, "::ffff:192.0.2.1/95", `"::ffff:192.0.2.1/95": a mapped prefix needs a length of 96 to 128; write "192.0.2.1/32"`},
		{KindPrefix, "::ffff:10.1.0.0/8", `"::ffff:10.1.0.0/8": a mapped prefix needs a length of 96 to 128; write "10.0.0.0/8"`},
		{KindPrefix, "::ffff:0:0/0", `"::ffff:0:0/0": a mapped prefix needs a length of 96 to 128; write "0.0.0.0/0" if everybody is meant`},
		{KindPrefix, "192.0.2.1/0.0.0.0", `"192.0.2.1/0.0.0.0": a netmask; write "0.0.0.0/0" if everybody is meant`},
		{KindPrefix, "192.0.2.0/0.0.0.255", `"192.0.2.0/0.0.0.255": a wildcard mask; write "192.0.2.0/24"`},
		{KindPrefix, "192.0.2.0/255.255.255.0", `"192.0.2.0/255.255.255.0": a netmask; write "192.0.2.0/24"`},
		{KindPrefix, "192.0.2.0/255.0.255.0", `"192.0.2.0/255.0.255.0": a netmask with holes; write one prefix for each part`},
		{KindPrefix, "192.0.2.0/024", `"192.0.2.0/024": leading zero in the length; write "192.0.2.0/24"`},
		{KindPrefix, "192.0.2.0/33", `"192.0.2.0/33": the length is a number from 0 to 32`},
		{KindPrefix, "10/8", `"10/8": short form; write "10.0.0.0/8"`},
		{KindPrefix, "10.1/8", `"10.1/8": short form; write "10.0.0.0/8"`},
		{KindPrefix, "198.51.100", `"198.51.100": short form; write "198.51.100.0/24" for the network, or "198.51.0.100" for the address that some programs read`},
		{KindPrefix, "198.51.100.", `"198.51.100.": a network is written with its length; write "198.51.100.0/24"`},
		{KindPrefix, "198.51.*.*", `"198.51.*.*": a network is written with its length; write "198.51.0.0/16"`},
		{KindPrefix, "2130706433", `"2130706433": short form; write "127.0.0.1"`},
		{KindPrefix, "192.0.2.1.", `"192.0.2.1.": not an IP address; write one like "192.0.2.1" or "2001:db8::1"`},
		{KindPrefix, "/24", `"/24": no address before the length; write a prefix such as "192.0.2.0/24" or "2001:db8::/32"`},
		{KindPrefix, "010.0.0.0/8", `"010.0.0.0/8": a leading zero means octal to some programs; write "10.0.0.0/8" (or "8.0.0.0/8" if octal was meant)`},
		{KindPrefix, "0x0a.1.0.0/8", `"0x0a.1.0.0/8": hexadecimal; write "10.0.0.0/8"`},
		{KindPrefix, "[192.0.2.0]/24", `"[192.0.2.0]/24": brackets are for IPv6; write "192.0.2.0/24"`},
		{KindPrefix, "::ffff:0x0a.0.0.0/104", `"::ffff:0x0a.0.0.0/104": ambiguous IPv4 tail; write "10.0.0.0/8"`},
		{KindPrefix, "[2001:db8::/32]", `"[2001:db8::/32]": the brackets are for the address alone; write "2001:db8::/32"`},
		{KindPrefix, "192.0.2.1:80", `"192.0.2.1:80": a port means nothing here; write "192.0.2.1"`},
		{KindPrefix, "*", `"*": not a prefix; everybody is "0.0.0.0/0" and "::/0" (in a rule: "all")`},
		{KindPrefix, "!192.0.2.0/24", `"!192.0.2.0/24": no negation; write a "deny" rule above`},
		{KindPrefix, "fe80::1%eth0/128", `"fe80::1%eth0/128": a zone matches no client; write the address without "%…"`},
		{KindRange, "192.0.2.1-9", `"192.0.2.1-9": short form; write "192.0.2.1-192.0.2.9"`},
		{KindRange, "2001:db8::1-ff", `"2001:db8::1-ff": short form; write "2001:db8::1-2001:db8::ff"`},
		{KindRange, "192.0.2.1 - 192.0.2.9", `"192.0.2.1 - 192.0.2.9": a range has no spaces; write "192.0.2.1-192.0.2.9"`},
		{KindRange, "192.0.2.9-192.0.2.1", `"192.0.2.9-192.0.2.1": the ends are reversed; write "192.0.2.1-192.0.2.9"`},
		{KindRange, "192.0.2.9-::1", `"192.0.2.9-::1": one end is IPv4 (192.0.2.9) and the other IPv6; write two ranges`},
		{KindHostPort, "2001:db8::1:443", `"2001:db8::1:443": an IPv6 address needs brackets; write "[2001:db8::1]:443"`},
		{KindHostPort, "0x7f.1:80", `"0x7f.1:80": hexadecimal; write "127.0.0.1"`},
		{KindHostPort, "192.0.2.1", `"192.0.2.1": no port; write HOST:PORT, such as "192.0.2.1:80" or "[2001:db8::1]:80"`},
		{KindHostPort, "[::1]:080", `"[::1]:080": the port "080" is no number from 0 to 65535`},
		{KindHostPort, "[fe80::1%25]:80", `"[fe80::1%25]:80": empty zone; write "fe80::1" or name the interface`},
		{KindHostPort, "\u212aelvin.example:80", "\"\u212aelvin.example:80\": \"\u212aelvin.example\" is neither an address nor a DNS name"},
		{KindFwd, "unknown", `"unknown": the client is hidden on purpose (RFC 7239 §6.2, §6.3): no address`},
		{KindFwd, "2001:db8::1", `"2001:db8::1": RFC 7239 §6 wants brackets around an IPv6 address`},
		{"address", "::1", `"address": unknown kind; write addr, match, prefix, range, hostport, xff, fwd or embed`},
	} {
		id, err := Identify(row.kind, row.text, Env{})
		if fmt.Sprint(err) != row.want {
			t.Errorf("%s:\n got %v (%q)\nwant %s", row.kind, err, id.Canonical, row.want)
		}
	}
}

// RFC 7239 §6: a port has one to five digits, or is obfuscated.
func TestNodePorts(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"192.0.2.1:0", "192.0.2.1"},
		{"192.0.2.1:00080", "192.0.2.1"},
		{"[2001:db8::1]:00000", "2001:db8::1"},
		{"[2001:db8::1]:_a.b-C_9", "2001:db8::1"},
		{"192.0.2.1:000080", ""},
		{"192.0.2.1:65536", ""},
		{"192.0.2.1:_", ""},
		{"192.0.2.1:_a:80", ""},
		{"192.0.2.1:+80", ""},
		{"192.0.2.1:", ""},
	} {
		if a, err := ParseForwardedFor(row.text); (err == nil) != (row.want != "") || err == nil && a.String() != row.want {
			t.Errorf("%q is %v, %v; want %q", row.text, a, err, row.want)
		}
	}
}

func TestGuessTheKind(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"::ffff:192.0.2.1", "addr 192.0.2.1 ipv4 []"},
		{"[2001:DB8::1]", "addr 2001:db8::1 ipv6 []"},
		{"2002:c000:221::1", "addr 2002:c000:221::1 ipv6 [6to4:192.0.2.33]"},
		{"[2001:db8::]/32", "prefix 2001:db8::/32 ipv6 []"},
		{"64:ff9b::c000:221/128", "prefix 64:ff9b::c000:221/128 ipv6 [nat64:192.0.2.33]"},
		{"192.0.2.1-192.0.2.9", "range 192.0.2.1-192.0.2.9 ipv4 []"},
		{"[::ffff:192.0.2.1]:80", "hostport 192.0.2.1:80 ipv4 []"},
		{"WWW.example.jp.:443", "hostport www.example.jp:443  []"},
		{":80", "hostport :80  []"},
	} {
		id, err := Identify("", row.text, Env{})
		if got := fmt.Sprintf("%s %s %s %v", id.Kind, id.Canonical, id.Family, id.Embedded); err != nil || got != row.want {
			t.Errorf("%q is %q, %v; want %q", row.text, got, err, row.want)
		}
	}
}

// The IPv4 address stands where the RFC of the mechanism puts it, for every
// length of RFC 6052 §2.2 (its own table of examples is §2.4).
func TestEmbeddings(t *testing.T) {
	for _, row := range []struct{ env, text, want string }{
		{"nat64 2001:db8::/32", "2001:db8:c000:221::", "nat64:192.0.2.33"},
		{"nat64 2001:db8:100::/40", "2001:db8:1c0:2:21::", "nat64:192.0.2.33"},
		{"nat64 2001:db8:122::/48", "2001:db8:122:c000:2:2100::", "nat64:192.0.2.33"},
		{"nat64 2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::", "nat64:192.0.2.33"},
		{"nat64 2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::", "nat64:192.0.2.33"},
		{"nat64 2001:db8:122:344::/96", "2001:db8:122:344::c000:221", "nat64:192.0.2.33"},
		// The u octet and the suffix are removed unread (§2.3).
		{"nat64 2001:db8:122::/48", "2001:db8:122:c000:ff02:21ff:ffff:ffff", "nat64:192.0.2.33"},
		{"nat64 2001:db8:122::/48", "2001:db8:123:c000:2:2100::", "none"},
		// Of two that overlap the longer one is the translator's, in any order.
		{"nat64 2001:db8::/32,2001:db8:64::/96", "2001:db8:64::192.0.2.33", "nat64:192.0.2.33"},
		{"nat64 2001:db8:64::/96,2001:db8::/32", "2001:db8:64::192.0.2.33", "nat64:192.0.2.33"},
		// The operator's /96 inside RFC 8215's block is nearer than the /48.
		{"nat64 64:ff9b:1::/96", "64:ff9b:1::192.0.2.33", "nat64:192.0.2.33"},
		{"6rd 2001:e41::/32", "2001:e41:cb00:7105::1", "6rd:203.0.113.5"},
		{"6rd 2a01:79c::/30", "2a01:79d:469c:1358::1", "6rd:81.167.4.214"},
		{"6rd 2602::/24", "2602:c:2238:4e00::1", "6rd:12.34.56.78"},
		{"6rd 2a02:58:54::/46,185.227.120.0/22", "2a02:58:57:7b00::1", "6rd:185.227.123.123"},
		{"6rd 2001:db8::/32,10.0.0.0/8", "2001:db8:6464:100::1", "6rd:10.100.100.1"},
		{"6rd 2001:e41::/32", "2001:e41::1", "none"},
		{"", "::", "none"},
		{"", "::1", "none"},
		{"", "::2", "compat:0.0.0.2"},
		{"", "::ffff:192.0.2.1", "none"},
		{"", "192.0.2.1", "none"},
		{"", "2002::", "6to4:0.0.0.0"},
		{"", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "teredo:192.0.2.45"},
		{"", "fe80::5efe:192.0.2.33", "isatap:192.0.2.33"},
		{"", "2001:db8:1:2:200:5efe:c000:221", "isatap:192.0.2.33"},
		{"", "2001:db8:1:2:100:5efe:c000:221", "none"},
		{"", "2001:db8:1:2:0:5eff:c000:221", "none"},
		{"", "::ffff:0:192.0.2.33", "siit:192.0.2.33"},
		{"", "64:ff9b:2::1", "none"},
		{"", "64:ff9b:1::192.0.2.33", "nat64-local:192.0.2.33"},
		{"", "64:ff9b:1:c000:2:2100:192.0.2.1", "nat64-local:192.0.2.33"},
	} {
		id, err := Identify(KindEmbed, row.text, envOf(t, row.env))
		if err != nil || id.Canonical != row.want {
			t.Errorf("%s in %q: %q, %v; want %q", row.text, row.env, id.Canonical, err, row.want)
		}
	}
	// One address, three mechanisms.
	id, err := Identify(KindAddr, "2002:c000:221::5efe:10.1.2.3", envOf(t, "6rd 2002::/16"))
	if got := fmt.Sprint(id.Embedded); err != nil || got != "[6to4:192.0.2.33 6rd:192.0.2.33 isatap:10.1.2.3]" {
		t.Errorf("embedded %s, %v", got, err)
	}
}

// envOf makes an Env of "nat64 PREFIX[,PREFIX...]" or "6rd PREFIX[,IPV4/LEN]".
func envOf(t *testing.T, s string) (env Env) {
	t.Helper()
	var mechanism, text string
	fmt.Sscan(s, &mechanism, &text)
	switch mechanism {
	case "nat64":
		for p := range strings.SplitSeq(text, ",") {
			env.NAT64 = append(env.NAT64, must(ParseNAT64(p)))
		}
	case "6rd":
		env.SixRD = must(ParseSixRD(text))
	}
	return env
}
