package acl

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
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
		// A family never looks inside: "deny 192.0.2.0/24" still takes 2002:c000:201::.
		{[]string{"deny ipv4", "deny 192.0.2.0/24", "allow all"},
			`2:11: access "deny 192.0.2.0/24": matches no IPv4 client, as "deny ipv4" (genkan.toml:1:11) comes first; only IPv4 addresses inside IPv6 ones are left to it`},
		{[]string{"deny 192.0.2.0/24", "deny 6to4:192.0.2.0/25", "allow all"},
			`2:11: access "deny 6to4:192.0.2.0/25": never matches, as "deny 192.0.2.0/24" (genkan.toml:1:11) comes first; delete it, or move it up`},
		{[]string{"deny 6to4:192.0.2.0/24", "deny 6to4:192.0.2.0/25", "deny nat64:192.0.2.0/25", "allow all"},
			`2:11: access "deny 6to4:192.0.2.0/25": never matches, as "deny 6to4:192.0.2.0/24" (genkan.toml:1:11) comes first; delete it, or move it up`},
		{[]string{"allow 6rd:192.0.2.0/24 ipv4", "deny 6rd:192.0.2.0/24"}, ""},
		{[]string{"deny 6rd:192.0.2.0/24", "allow 6rd:192.0.2.0/24 ipv4"}, ""},
		// What the configuration says of a list stays; entries may be added to it.
		{[]string{"deny blocked", "deny 198.51.100.7", "allow all"},
			`2:11: access "deny 198.51.100.7": never matches, as "deny blocked" (genkan.toml:1:11) comes first; delete it, or move it up`},
		{[]string{"allow blocked", "deny 198.51.100.7", "allow all"},
			`2:11: access "deny 198.51.100.7": matches no IPv4 client, as "allow blocked" (genkan.toml:1:11) comes first; only IPv4 addresses inside IPv6 ones are left to it`},
		{[]string{"deny 198.51.0.0/16 2001:db8::/32", "deny blocked", "allow all"},
			`2:11: access "deny blocked": matches nobody, as "deny 198.51.0.0/16 2001:db8::/32" (genkan.toml:1:11) comes first; only what is added to a list at run time is left to it`},
		{[]string{"allow 198.51.0.0/16 2001:db8::/32", "deny blocked", "allow all"},
			`2:11: access "deny blocked": matches nobody, as "allow 198.51.0.0/16 2001:db8::/32" (genkan.toml:1:11) comes first; ` +
				`only IPv4 addresses inside IPv6 ones, and what is added to a list at run time, are left to it`},
		{[]string{"deny 198.51.0.0/16 2001:db8::/32", "deny blocked", "deny blocked 198.51.7.0/24", "allow all"},
			`2:11: access "deny blocked": matches nobody, as "deny 198.51.0.0/16 2001:db8::/32" (genkan.toml:1:11) comes first; only what is added to a list at run time is left to it
3:11: access "deny blocked 198.51.7.0/24": never matches, as the rules above it take all that it means; delete it, or move it up`},
		{[]string{"deny blocked", "deny 198.51.101.0/24", "deny 198.51.100.128-198.51.101.127", "allow all"},
			`3:11: access "deny 198.51.100.128-198.51.101.127": never matches, as the rules above it take all that it means; delete it, or move it up`},
		{[]string{"deny all", "allow blocked"},
			`2:11: access "allow blocked": never matches, as "deny all" (genkan.toml:1:11) comes first; delete it, or move it up`},
		{[]string{"deny 198.51.100.0/24", "deny blocked", "allow all"}, ""},
		{[]string{"deny ipv4 2001:db8::/32", "deny empty", "allow all"}, ""},
		{[]string{"deny ipv4 2001:db8::/32", "deny empty office2", "allow all"}, ""},
		{[]string{"allow blocked", "deny 198.51.100.0/24", "deny blocked", "allow all"},
			`2:11: access "deny 198.51.100.0/24": matches no IPv4 client, as "allow blocked" (genkan.toml:1:11) comes first; only IPv4 addresses inside IPv6 ones are left to it
3:11: access "deny blocked": matches no IPv4 client, as "allow blocked" (genkan.toml:1:11) comes first; only IPv4 addresses inside IPv6 ones are left to it`},
		// What a file holds may change.
		{[]string{"deny file", "deny 203.0.113.1", "allow all"}, ""},
		{[]string{"deny 203.0.113.0/24", "deny file", "allow all"}, ""},
		{[]string{"deny file", "allow all", "deny file"},
			`3:11: access "deny file": never matches, as "deny file" (genkan.toml:1:11) comes first; delete it, or move it up`},
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
		env.Lists["office"], env.Lists["empty"], env.Lists["file"] = office, NewList(nil), new(List)
		env.Lists["office2"] = NewList(nil)
		env.Lists["file"].Swap(SetOf(must(ParsePrefix("203.0.113.0/24"))))
		var got []string
		for _, w := range mustCompile(t, env, row.rules...).Warnings() {
			got = append(got, strings.TrimPrefix(w.String(), "genkan.toml:"))
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%q:\n got %s\nwant %s", row.rules, strings.Join(got, "\n     "), row.want)
		}
	}
}

// A rule that "never matches" decides for nobody, and of the others that are
// told to be in a shadow what the warning says is left: random rules over few
// addresses, and every client of these.
func TestShadowsAgainstVerdicts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	targets := []string{"ipv4", "ipv6", "all", "0.0.0.0/0", "10.0.0.0/30", "10.0.0.0/31", "10.0.0.2/31", "10.0.0.1-10.0.0.2", "10.0.0.3",
		"2001:db8::/126", "2001:db8::/127", "2001:db8::2/127", "2002:a00:0::/46", "6to4:10.0.0.0/31", "6to4:10.0.0.0/30", "nat64:10.0.0.0/30",
		"6rd:10.0.0.0/30", "6rd:10.0.0.2/31", "some", "more", "none"}
	var clients []Client
	for i := range 4 {
		for _, format := range []string{"10.0.0.%d", "2001:db8::%d", "2002:a00:%d::1", "64:ff9b::a00:%d", "2001:e41:a00:%d::1", "2001:db8:1::5efe:a00:%d"} {
			a := must(ParseAddr(fmt.Sprintf(format, i)))
			clients = append(clients, Client{a, false}, Client{a, true})
		}
	}
	warned := 0
	for range 20_000 {
		env := Env{SixRD: must(ParseSixRD("2001:e41::/32")), Lists: map[string]*List{
			"some": NewList(SetOf(must(ParsePrefix("10.0.0.0/31")), must(ParsePrefix("2001:db8::/127")))),
			"more": NewList(SetOf(must(ParsePrefix("10.0.0.0/30")))), "none": NewList(nil)}}
		var rules []string
		for range 2 + r.IntN(4) {
			rule := []string{"allow", "deny"}[r.IntN(2)]
			for range 1 + r.IntN(3) {
				target := targets[r.IntN(len(targets))]
				if strings.HasPrefix(rule, "deny") || !strings.HasPrefix(target, "6to4:") && !strings.HasPrefix(target, "nat64:") {
					rule += " " + target
				}
			}
			if strings.Contains(rule, " ") {
				rules = append(rules, rule)
			}
		}
		if len(rules) == 0 {
			continue
		}
		p := mustCompile(t, env, rules...)
		added := r.IntN(2) == 0
		if added {
			env.Lists["none"].SetEntries([]Entry{{Range: RangeOf(must(ParsePrefix("10.0.0.2/31")))}, {Range: RangeOf(must(ParsePrefix("2001:db8::2/127")))}}, time.Now())
			env.Lists["more"].SetEntries([]Entry{{Range: RangeOf(must(ParsePrefix("2001:db8::3")))}}, time.Now())
			env.Lists["some"].SetEntries([]Entry{{Range: RangeOf(must(ParsePrefix("10.0.0.2")))}}, time.Now())
		}
		for _, w := range p.Warnings() {
			if added && strings.Contains(w.Msg, "is added to a list at run time") {
				continue
			}
			never, left := strings.Contains(w.Msg, "never matches"), strings.Contains(w.Msg, "IPv4 addresses inside IPv6 ones")
			if !never && !left && !strings.Contains(w.Msg, "matches nobody") {
				continue
			}
			warned++
			for _, c := range clients {
				if v := p.Recheck(c); v.Pos == w.Pos && (!left || v.Why != "the IPv4 address inside matches") {
					t.Fatalf("%q: %v; but it decides for %v", rules, w, c)
				}
			}
		}
	}
	if warned < 5000 {
		t.Errorf("%d warnings say little", warned)
	}
}
