package acl

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A row is one client and the verdict first, so that the column reads as the
// policy does.
type row struct {
	want   string // "allow" or "deny", and "by N": the number of the rule, 0 for the default
	client string
}

// tunnelEnv is example B of RFC 5969 §4 upside down: no shared bits, so that
// the IPv4 address can be read in the prefix.
func tunnelEnv() Env {
	var blocked SetBuilder
	blocked.AddPrefix(must(ParsePrefix("198.51.100.0/24")))
	blocked.AddPrefix(must(ParsePrefix("2001:db8:bad::/48")))
	return Env{
		Lists: map[string]*List{"blocked": NewList(blocked.Build()), "empty": {}},
		SixRD: must(ParseSixRD("2001:e41::/32")),
		NAT64: []Prefix{must(ParseNAT64("2001:db8:64::/96"))},
	}
}

func TestPolicy(t *testing.T) {
	for _, table := range []struct {
		rules []string
		rows  []row
	}{
		{[]string{"deny blocked", "allow 192.0.2.0/24 2001:db8::/32"}, []row{
			{"deny by 1", "198.51.100.7"},
			{"deny by 1", "2001:db8:bad::1"},
			{"allow by 2", "192.0.2.1"},
			{"allow by 2", "2001:db8::1"},
			{"deny by 0", "203.0.113.1"},
			{"deny by 1", "2002:c633:6407::1"},  // 6to4 of 198.51.100.7
			{"deny by 0", "2002:c000:201::1"},   // 6to4 of 192.0.2.1: never an allow
			{"deny by 0", "64:ff9b::c000:201"},  // NAT64 of 192.0.2.1
			{"deny by 1", "64:ff9b::c633:6407"}, // NAT64 of 198.51.100.7
			{"deny by 1", "2001:db8:64::c633:6407"},
			{"allow by 2", "2001:db8:64::c000:201"}, // allowed as the IPv6 address it is
			{"deny by 1", "2001:db8:1::5efe:198.51.100.7"},
		}},
		{[]string{"deny ipv4", "allow ::/0"}, []row{
			{"deny by 1", "192.0.2.1"},
			{"allow by 2", "2001:db8::1"},
			{"allow by 2", "2002:c000:201::1"}, // ipv4 never looks inside
			{"allow by 2", "::192.0.2.1"},
		}},
		{[]string{"deny 0.0.0.0/0", "allow ipv6"}, []row{
			{"deny by 1", "192.0.2.1"},
			{"allow by 2", "2002:c000:201::1"}, // nor does 0.0.0.0/0
		}},
		{[]string{"deny 0.0.0.0/1 192.0.2.1-192.0.2.9", "allow all"}, []row{
			{"deny by 1", "10.0.0.1"},
			{"deny by 1", "2002:a00:1::1"}, // but half of it does
			{"deny by 1", "2002:c000:209::1"},
			{"allow by 2", "2002:c000:20a::1"},
		}},
		{[]string{"allow 6rd:192.0.2.0/24", "deny 6rd:0.0.0.0/0", "allow ipv6"}, []row{
			{"deny by 2", "2001:e41:c000:201::1"}, // forged: not through the tunnel
			{"allow by 1", "tunnel 2001:e41:c000:201::1"},
			{"deny by 2", "tunnel 2001:e41:c633:6407::1"},
			{"deny by 0", "192.0.2.1"}, // only inside
			{"allow by 3", "tunnel 2002:c000:201::1"},
		}},
		{[]string{"deny nat64:192.0.2.0/24 6to4:192.0.2.0/24", "allow all"}, []row{
			{"deny by 1", "64:ff9b::c000:201"},
			{"deny by 1", "2001:db8:64::c000:201"},
			{"deny by 1", "64:ff9b:1:c000:2:100::"},
			{"deny by 1", "2002:c000:201::"},
			{"allow by 2", "192.0.2.1"},
			{"allow by 2", "2001:0:4136:e378:8000:63bf:3fff:fdfe"}, // Teredo is not named
		}},
		{[]string{"deny empty", "allow all"}, []row{
			{"allow by 2", "192.0.2.1"},
			{"allow by 2", "2001:db8::1"},
		}},
		{[]string{"allow all"}, []row{
			{"deny by 0", ""}, // no address is nobody
		}},
	} {
		p := mustCompile(t, tunnelEnv(), table.rules...)
		for _, row := range table.rows {
			for _, c := range spellings(row.client) {
				if got := verdictBy(p, table.rules, c); got != row.want {
					t.Errorf("%q: %v is %s, want %s", table.rules, c.Addr, got, row.want)
				}
			}
		}
	}
}

// spellings returns the client as written, and an IPv4 one in mapped form too.
func spellings(s string) (out []Client) {
	text, tunnel := strings.CutPrefix(s, "tunnel ")
	if text == "" {
		return []Client{{}}
	}
	ip := netip.MustParseAddr(text)
	out = append(out, Client{AddrFrom(ip), tunnel})
	if ip.Is4() {
		out = append(out, Client{AddrFrom(netip.AddrFrom16(ip.As16())), tunnel}, Client{must(ParseAddr("::ffff:" + text)), tunnel})
	}
	return out
}

// verdictBy returns "allow by 2", after checking that explain agrees.
func verdictBy(p *Policy, rules []string, c Client) string {
	v, e := p.Check(c), p.Explain(c, time.Time{}, nil)
	defer v.Release()
	if e.Verdict.Allow != v.Allow || e.Verdict.Pos != v.Pos {
		return fmt.Sprintf("%v but explain says %v", v, e.Verdict)
	}
	if word := strings.Fields(v.Why + " nothing")[0]; word == "nothing" || v.Allow != (v.Status == 0) {
		return fmt.Sprintf("inconsistent: %+v", v)
	}
	word := "deny"
	if v.Allow {
		word = "allow"
	}
	return fmt.Sprintf("%s by %d", word, v.Pos.Line)
}

// mustCompile compiles rules, each on a line of its own.
func mustCompile(t testing.TB, env Env, rules ...string) *Policy {
	t.Helper()
	p, err := Compile(texts(rules), env)
	if err != nil {
		t.Fatalf("Compile(%q): %v", rules, err)
	}
	return p
}

func texts(rules []string) (out []RuleText) {
	for i, text := range rules {
		out = append(out, RuleText{text, Pos{File: "genkan.toml", Line: i + 1, Col: 11}})
	}
	return out
}

func TestZeroDenies(t *testing.T) {
	client := Client{Addr: must(ParseAddr("192.0.2.1"))}
	for name, v := range map[string]Verdict{
		"nil policy":         (*Policy)(nil).Check(client),
		"zero policy":        new(Policy).Check(client),
		"zero client":        mustCompile(t, Env{}, "allow all").Check(Client{}),
		"zero client to all": AllowAll().Check(Client{}),
		"zero verdict":       {},
	} {
		if v.Allow {
			t.Errorf("%s allows", name)
		}
		v.Release()
	}
	if v := AllowAll().Check(client); !v.Allow {
		t.Errorf("AllowAll: %+v", v)
	}
	var set *Set
	if set.Contains(client.Addr) || (&Set{}).Contains(client.Addr) || new(List).Contains(client.Addr, time.Time{}) ||
		(Prefix{}).Contains(client.Addr) || (Prefix{}).Contains(Addr{}) || (Range{}).Contains(Addr{}) {
		t.Error("something empty contains something")
	}
}

// Every row of acl-cases.tsv whose client is the peer.
func TestACLVectors(t *testing.T) {
	for _, r := range vectorRows(t, "testdata/acl-cases.tsv") {
		id, rules, options, peer, via, verdict, strength, note := r[0], r[1], r[2], r[3], r[4], r[6], r[7], r[8]
		if via != "-" || strings.ContainsAny(peer, "( ") || strings.Contains(options, "trusted") {
			continue // forwarded and proxyproto have these, the tunnel and HTTP/3 the rest
		}
		var texts []RuleText
		for _, rule := range strings.Split(rules, "; ") {
			if what, ok := strings.CutPrefix(rule, "default "); ok {
				rule = what + " all"
			}
			texts = append(texts, RuleText{Text: unescape(t, rule)})
		}
		p, err := Compile(texts, envOptions(t, options))
		if err != nil {
			if verdict != "config-error" {
				t.Errorf("%s %q: %v, want %s (%s: %s)", id, rules, err, verdict, strength, note)
			}
			continue
		}
		ip, err := parseZoned(peer)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []Addr{AddrFrom(ip), AddrFrom(netip.AddrFrom16(ip.As16()))} {
			if got := p.Check(Client{Addr: a}); got.Allow != (verdict == "allow") || verdict == "config-error" {
				t.Errorf("%s %q %s: %+v, want %s (%s: %s)", id, rules, peer, got, verdict, strength, note)
			}
		}
	}
}

// envOptions reads the options column: embedded=, 6rd=PREFIX,MASKLEN, nat64=.
func envOptions(t *testing.T, options string) Env {
	env := Env{Embedded: EmbeddedOff}
	for _, option := range strings.Fields(options) {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "embedded":
			if value == "deny" {
				env.Embedded = EmbeddedDeny
			}
		case "6rd":
			env.SixRD = must(ParseSixRD(value))
		case "nat64":
			env.NAT64 = append(env.NAT64, must(ParseNAT64(value)))
		case "-":
		default:
			t.Fatalf("unknown option %q", option)
		}
	}
	return env
}

func TestRuleMistakes(t *testing.T) {
	for _, row := range []struct{ rule, want string }{
		{"", `access: empty; a rule is "allow TARGET…", "deny TARGET…", "limit N/T" or "conns N"`},
		{"allow 10.1.2.3/8", `access "allow 10.1.2.3/8": host bits set; write "10.0.0.0/8"`},
		{"allow 192.0.2.1 10.1.2.3/8", `access "allow 192.0.2.1 10.1.2.3/8": "10.1.2.3/8": host bits set; write "10.0.0.0/8"`},
		{"alow all", `access "alow all": a rule begins with allow, deny, limit or conns; did you mean "allow"?`},
		{"Deny all", `access "Deny all": a rule begins with allow, deny, limit or conns; did you mean "deny"?`},
		{"allow", `access "allow": no target; write "allow all", or an address, prefix or list`},
		{"deny blokced", `access "deny blokced": no list has this name; did you mean "blocked"?`},
		{"deny any", `access "deny any": not a prefix; everybody is "0.0.0.0/0" and "::/0" (in a rule: "all")`},
		{"deny office", `access "deny office": no list has this name; define it in [lists], or write an address`},
		{"allow 192.0.2.1, 192.0.2.2", `access "allow 192.0.2.1, 192.0.2.2": "192.0.2.1,": targets are separated by spaces; write "192.0.2.1"`},
		{"allow nat64:192.0.2.0/24", `access "allow nat64:192.0.2.0/24": a nat64 source costs nothing to forge, so it cannot be allowed by the IPv4 address inside; write its IPv6 prefix`},
		{"allow 6rd:192.0.2.0/24", `access "allow 6rd:192.0.2.0/24": there is no 6rd domain without [tunnel]; write the IPv6 prefix itself`},
		{"deny 6to4:2001:db8::/32", `access "deny 6to4:2001:db8::/32": what is inside is IPv4; write "6to4:192.0.2.0/24"`},
		{"limit", `access "limit": write "limit N/T [per /LEN] [TARGET…]"`},
		{"limit 6", `access "limit 6": no span of time; write "6/30s"`},
		{"limit often", `access "limit often": write "limit N/T [per /LEN] [TARGET…]"`},
		{"limit 6/m", `access "limit 6/m": how many of "m"? write "6/1m"`},
		{"limit 6/30", `access "limit 6/30": "30" is no span of time; write it like 30s, 5m or 1h`},
		{"limit 0/30s", `access "limit 0/30s": a bound is a number from 1 to 1000000; write "limit N/T [per /LEN] [TARGET…]"`},
		{"limit 6/d", `access "limit 6/d": how many of "d"? write "6/24h"`},
		{"limit 6/8d", `access "limit 6/8d": the span of time is from 100ms to 168h`},
		{"limit 6/1ms", `access "limit 6/1ms": the span of time is from 100ms to 168h`},
		{"limit 6/30s per 64", `access "limit 6/30s per 64": "per": write "per /64", with spaces`},
		{"limit 6/30s per /24", `access "limit 6/30s per /24": "/24": the IPv6 key has a length from /32 to /128`},
		{"limit 6/30s all per /56", `access "limit 6/30s all per /56": "per": "per /LEN" stands once, before the targets; write "limit N/T [per /LEN] [TARGET…]"`},
		{"deny 192.0.2.1 per /56", `access "deny 192.0.2.1 per /56": "per": only limit and conns count per prefix; write "deny TARGET…"`},
		{"allow 192.0.2.1 deny all", `access "allow 192.0.2.1 deny all": "deny": begins a rule, and each rule is a string of its own`},
		{"allow 192.0.2.1 - 192.0.2.9", `access "allow 192.0.2.1 - 192.0.2.9": "-": a range has no spaces; write "192.0.2.1-192.0.2.9"`},
		{"deny NAT64:10.0.0.0/8", `access "deny NAT64:10.0.0.0/8": write "nat64:10.0.0.0/8"`},
		{"deny teredo:10.0.0.0/8", `access "deny teredo:10.0.0.0/8": only 6rd:, nat64: and 6to4: look inside by name; "deny 10.0.0.0/8" looks into teredo, too`},
		{"conns -1", `access "conns -1": a bound is a number from 1 to 1000000; write "conns N [per /LEN] [TARGET…]"`},
	} {
		env := Env{Lists: map[string]*List{"blocked": {}}}
		_, err := Compile([]RuleText{{Text: row.rule}}, env)
		if got := fmt.Sprint(err); got != row.want {
			t.Errorf("\n got %s\nwant %s", got, row.want)
		}
	}
}

// All mistakes are told at once, each with its place.
func TestMistakesAreCollected(t *testing.T) {
	_, err := Compile(texts([]string{"allow 10.1.2.3/8 0x7f.1", "allow all", "foo"}), Env{})
	want := `genkan.toml:1:11: access "allow 10.1.2.3/8 0x7f.1": "10.1.2.3/8": host bits set; write "10.0.0.0/8"
genkan.toml:1:11: access "allow 10.1.2.3/8 0x7f.1": "0x7f.1": hexadecimal; write "127.0.0.1"
genkan.toml:3:11: access "foo": a rule begins with allow, deny, limit or conns`
	if fmt.Sprint(err) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = Compile(nil, Env{})
	if want := `access: empty; leave "access" out to allow all, or write ["deny all"]`; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestExplain(t *testing.T) {
	p := mustCompile(t, tunnelEnv(), "deny blocked", "limit 6/30s per /64 ipv6", "allow 192.0.2.0/24 2001:db8::/32")
	for _, row := range []struct{ client, want string }{
		{"2001:db8::1", `no match: deny blocked
passes: limit 6/30s per /64 ipv6: 0 of 6 used by 2001:db8::/64
allow: allow 192.0.2.0/24 2001:db8::/32: 2001:db8::1 is in 2001:db8::/32`},
		{"::ffff:192.0.2.1", `no match: deny blocked
no match: limit 6/30s per /64 ipv6
allow: allow 192.0.2.0/24 2001:db8::/32: 192.0.2.1 is in 192.0.2.0/24`},
		{"2002:c633:6407::1", `deny: deny blocked: 2002:c633:6407::1 has 198.51.100.7 inside (6to4), which is in list "blocked" as 198.51.100.0/24`},
		{"198.51.100.9", `deny: deny blocked: 198.51.100.9 is in list "blocked" as 198.51.100.0/24`},
		{"203.0.113.1", `no match: deny blocked
no match: limit 6/30s per /64 ipv6
no match: allow 192.0.2.0/24 2001:db8::/32
deny: : no rule matches, and the default is deny`},
	} {
		var got []string
		for _, s := range p.Explain(Client{Addr: must(ParseAddr(row.client))}, time.Time{}, nil).Steps {
			line := s.Result + ": " + s.Rule
			if s.Why != "" {
				line += ": " + s.Why
			}
			got = append(got, line)
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%s:\n%s\nwant\n%s", row.client, strings.Join(got, "\n"), row.want)
		}
	}
}

// Whom a ban cuts is whom its list would deny.
func TestDenies(t *testing.T) {
	env := tunnelEnv()
	clients := []string{"192.0.2.7", "192.0.3.7", "2001:db8::1", "2002:c000:207::1", "64:ff9b::c000:207", "2001:e41:c000:207::1", "2001:db8:64::192.0.2.7", "::192.0.2.7", ""}
	for _, text := range []string{"192.0.2.0/24", "192.0.2.7-192.0.2.9", "0.0.0.0/0", "::/0", "2001:db8::/32", "2002::/16", "0.0.0.0/1", "128.0.0.0/1"} {
		for _, env.Embedded = range []Embedded{EmbeddedDeny, EmbeddedOff} {
			r := must(ParseEntry(text))
			p := mustCompile(t, env, "deny "+text, "allow all")
			for _, client := range clients {
				c := spellings(client)[0]
				if got, want := env.Denies(r, c.Addr), p.Check(c).Pos.Line == 1; got != want {
					t.Errorf("a ban of %s takes %s: %v, want %v (embedded %d)", text, client, got, want, env.Embedded)
				}
			}
		}
	}
}

// The policy against one that walks the rules word by word.
func TestPolicyAgainstSlowOne(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	env := tunnelEnv()
	words := []string{"all", "ipv4", "ipv6", "blocked", "192.0.2.0/24", "192.0.2.128/25", "192.0.2.7", "2001:db8::/32", "::/0", "0.0.0.0/0",
		"::ffff:192.0.2.0/120", "192.0.2.3-192.0.2.200", "2001:db8::-2001:db8:ffff::", "2002::/16", "6rd:192.0.2.0/24", "0.0.0.0/1", "128.0.0.0/1"}
	clients := []string{"192.0.2.7", "192.0.2.130", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2001:db8:bad::1", "2002:c000:207::1", "64:ff9b::c633:6401",
		"2001:e41:c000:207::1", "tunnel 2001:e41:c000:207::1", "tunnel 2001:e41:c633:6407::1", "::1", "::192.0.2.7", "2001:db8:64::192.0.2.7"}
	for range 3000 {
		var rules []string
		for range 1 + r.IntN(5) {
			rule := []string{"allow", "deny"}[r.IntN(2)]
			for range 1 + r.IntN(3) {
				rule += " " + words[r.IntN(len(words))]
			}
			rules = append(rules, rule)
		}
		p := mustCompile(t, env, rules...)
		for _, text := range clients {
			c := spellings(text)[0]
			if got, want := p.Check(c).Allow, slowCheck(rules, env, c); got != want {
				t.Fatalf("%q %s: %v, want %v", rules, text, got, want)
			}
		}
	}
}

func slowCheck(rules []string, env Env, c Client) bool {
	for _, rule := range rules {
		words := strings.Fields(rule)
		for _, w := range words[1:] {
			if slowTarget(w, words[0] == "deny", env, c) {
				return words[0] == "allow"
			}
		}
	}
	return false
}

func slowTarget(w string, denies bool, env Env, c Client) bool {
	inside := env.Embeddings(c.Addr)
	switch w {
	case "all":
		return true
	case "ipv4":
		return c.Addr.Is4()
	case "ipv6":
		return c.Addr.Is6()
	case "empty":
		return false
	case "blocked":
		return slowTarget("198.51.100.0/24", denies, env, c) || slowTarget("2001:db8:bad::/48", denies, env, c)
	}
	by, rest, _ := strings.Cut(w, ":")
	switch by {
	case "6rd", "nat64", "6to4":
		for _, in := range inside {
			if strings.TrimSuffix(in.Mechanism.String(), "-local") == by && must(ParsePrefix(rest)).Contains(in.IPv4) {
				return denies || c.Tunnel
			}
		}
		return false
	}
	contains := func(a Addr) bool {
		ip, bits, _ := slowPrefix(w)
		return slowContains(ip, bits, a.Netip().As16())
	}
	family := strings.HasSuffix(w, "/0") || strings.HasSuffix(w, "/96") && contains(must(ParseAddr("0.0.0.0")))
	if strings.Contains(w, "-") {
		r := must(ParseRange(w))
		contains = r.Contains
		family = r.String() == "0.0.0.0-255.255.255.255"
	}
	if contains(c.Addr) {
		return true
	}
	for _, in := range inside {
		if denies && !family && contains(in.IPv4) {
			return true
		}
	}
	return false
}

func TestCheckDoesNotAllocate(t *testing.T) {
	p := mustCompile(t, tunnelEnv(), "deny blocked", "limit 1000000/1h", "deny 6rd:198.51.100.0/24", "allow 192.0.2.0/24 2001:db8::/32")
	for _, c := range []string{"192.0.2.1", "2001:db8::1", "2002:c633:6407::1", "203.0.113.9"} {
		client := spellings(c)[0]
		if n := testing.AllocsPerRun(200, func() { p.Check(client) }); n != 0 {
			t.Errorf("%s: %v allocations", c, n)
		}
	}
}

func BenchmarkCheckTenRules(b *testing.B) {
	p := mustCompile(b, tunnelEnv(), "deny 10.0.0.0/8", "deny 172.16.0.0/12", "deny 192.168.0.0/16", "deny 198.51.100.0/24", "deny 203.0.113.0/24",
		"deny 2001:db8:1::/48", "deny 2001:db8:2::/48", "deny blocked", "allow 192.0.2.0/24", "allow 2001:db8::/32")
	for _, c := range []string{"192.0.2.1", "2001:db8::1"} {
		b.Run(c, func(b *testing.B) {
			client := spellings(c)[0]
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				if !p.Check(client).Allow {
					b.Fatal("denied")
				}
			}
			reportCPU(b, began)
		})
	}
}
