package acl

import (
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	office := NewList(SetOf(must(ParsePrefix("198.51.100.128/25")), must(ParsePrefix("2001:db8::/32"))))
	for _, row := range []struct {
		rules []string
		want  string // the lines of the warnings, without the file
	}{
		{[]string{"deny blocked", "limit 6/30s", "allow 192.0.2.0/24 2001:db8::/32"}, ""},
		{[]string{"allow all", "deny 192.0.2.1"},
			`2:11: access "deny 192.0.2.1": never matches, as "allow all" (genkan.toml:1:11) comes first; delete it, or move it up`},
		{[]string{"allow all", "limit 6/30s"},
			`2:11: access "limit 6/30s": never matches, as "allow all" (genkan.toml:1:11) comes first; delete it, or move it up`},
		{[]string{"allow ipv4", "deny 192.0.2.1", "allow ipv6"},
			`2:11: access "deny 192.0.2.1": matches no IPv4 client, as "allow ipv4" (genkan.toml:1:11) comes first; only IPv4 addresses inside IPv6 ones are left to it`},
		{[]string{"deny 192.0.2.0/25", "deny 192.0.2.128/25", "deny 192.0.2.7-192.0.2.200", "allow all"},
			`3:11: access "deny 192.0.2.7-192.0.2.200": never matches, as the rules above it take all that it means; delete it, or move it up`},
		{[]string{"deny blocked", "allow all", "allow blocked"},
			`3:11: access "allow blocked": never matches, as "deny blocked" (genkan.toml:1:11) comes first; delete it, or move it up`},
		{[]string{"allow ipv6 192.0.2.0/24", "allow 6rd:198.51.100.0/24"},
			`2:11: access "allow 6rd:198.51.100.0/24": never matches, as "allow ipv6 192.0.2.0/24" (genkan.toml:1:11) comes first; delete it, or move it up`},
		// A rule that is only half covered is fine.
		{[]string{"deny 192.0.2.0/25", "deny 192.0.2.0/24", "allow all"}, ""},
		// One family.
		{[]string{"allow 192.0.2.0/24"},
			`1:11: access "allow 192.0.2.0/24": IPv6 clients are shut out, as only IPv4 addresses are allowed; add their prefixes, or "deny ipv6" if that is meant`},
		{[]string{"allow 192.0.2.0/24", "deny all"},
			`1:11: access "allow 192.0.2.0/24": IPv6 clients are shut out, as only IPv4 addresses are allowed; add their prefixes, or "deny ipv6" if that is meant`},
		{[]string{"allow 192.0.2.0/24", "deny ipv6"}, ""},
		{[]string{"allow 2001:db8::/32"},
			`1:11: access "allow 2001:db8::/32": IPv4 clients are shut out, as only IPv6 addresses are allowed; add their prefixes, or "deny ipv4" if that is meant`},
		{[]string{"allow 6rd:192.0.2.0/24 192.0.2.0/24"}, ""},
		{[]string{"allow blocked"}, ""},
		{[]string{"deny 192.0.2.0/24"},
			`1:11: access "deny 192.0.2.0/24": no rule allows anybody; add "allow all", or the addresses that may enter`},
		{[]string{"deny all"}, ""},
		// Half of everybody. nginx lets IPv6 in for the second of them.
		{[]string{"allow ::/0", "deny ipv4"},
			`1:11: access "allow ::/0": "::/0" is IPv6 only; write "all" for everybody, or "ipv6" if that is meant`},
		{[]string{"allow 192.0.2.0/24 2001:db8::/32", "deny 0.0.0.0/0"},
			`2:11: access "deny 0.0.0.0/0": "0.0.0.0/0" is IPv4 only; write "all" for everybody, or "ipv4" if that is meant`},
		{[]string{"allow ::/0 0.0.0.0/0"}, ""},
		{[]string{"deny blocked", "allow office"},
			`2:11: access "allow office": lists "office" and "blocked" have 198.51.100.128/25 in common, where "deny blocked" (genkan.toml:1:11) decides`},
	} {
		env := tunnelEnv()
		env.Lists["office"] = office
		var got []string
		for _, w := range mustCompile(t, env, row.rules...).Warnings() {
			got = append(got, strings.TrimPrefix(w.String(), "genkan.toml:"))
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%q:\n got %s\nwant %s", row.rules, strings.Join(got, "\n     "), row.want)
		}
	}
}
