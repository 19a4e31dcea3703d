package acl

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// checkMany asks n times and compares how many pass.
func checkMany(t *testing.T, p *Policy, client string, n, want int) {
	t.Helper()
	passed := 0
	for range n {
		if p.Check(spellings(client)[0]).Allow {
			passed++
		}
	}
	if passed != want {
		t.Errorf("%s: %d of %d pass, want %d", client, passed, n, want)
	}
}

// "limit N/T": N attempts pass in any T, refused ones are not counted, and
// retry-after is true.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustCompile(t, tunnelEnv(), "limit 6/30s", "allow all")
		client := spellings("192.0.2.1")[0]
		checkMany(t, p, "192.0.2.1", 4, 4)
		time.Sleep(10 * time.Second)
		checkMany(t, p, "192.0.2.1", 100, 2)
		v := p.Check(client)
		if v.Allow || v.Status != 429 || v.RetryAfter != 20*time.Second || v.Pos.Line != 1 || v.Why != "more than 6 attempts in 30s" {
			t.Errorf("%+v", v)
		}
		time.Sleep(20*time.Second - 1*time.Nanosecond)
		checkMany(t, p, "192.0.2.1", 10, 0)
		time.Sleep(1 * time.Nanosecond)
		checkMany(t, p, "192.0.2.1", 10, 4)
		checkMany(t, p, "192.0.2.2", 10, 6)
	})
}

// The keys: an address, a /64, a delegated prefix, a 6to4 /48.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustCompile(t, tunnelEnv(), "limit 3/30s", "allow all")
		checkMany(t, p, "192.0.2.1", 9, 3)
		checkMany(t, p, "192.0.2.2", 9, 3)
		checkMany(t, p, "2001:db8::1", 2, 2)
		checkMany(t, p, "2001:db8::2", 9, 1) // neighbours share
		checkMany(t, p, "2001:db8:0:1::1", 9, 3)
		// Each 2001:e41 /64 is another house, though 65,536 of them are a /48.
		for i := range 200 {
			checkMany(t, p, fmt.Sprintf("tunnel 2001:e41:c000:%x::1", i+1), 4, 3)
		}
		// One 6to4 host owns a /48.
		checkMany(t, p, "2002:c000:201::1", 2, 2)
		checkMany(t, p, "2002:c000:201:ffff::1", 9, 1)
	})
}

// A delegated prefix may be wider than a /64.
func TestKeyOfWideDelegation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := Env{SixRD: must(ParseSixRD("2001:db8::/32,10.0.0.0/8"))} // a /56 each
		p := mustCompile(t, env, "limit 3/30s per /128", "allow all")
		checkMany(t, p, "tunnel 2001:db8:6464:100::1", 2, 2)
		checkMany(t, p, "tunnel 2001:db8:6464:1ff::1", 9, 1)
		checkMany(t, p, "tunnel 2001:db8:6464:200::1", 9, 3)
		checkMany(t, p, "2001:db9::1", 9, 3)
		checkMany(t, p, "2001:db9::2", 9, 3) // per /128
	})
}

// Who owns a /48 gets 32 times the bound of a /64, and a /56 8 times, unless
// the operator says otherwise by a gate of that length.
func TestTiers(t *testing.T) {
	for _, row := range []struct {
		rules      []string
		in56, in48 int // what passes from 200 /64s of one /56, and from the 200 first /56s of a /48
	}{
		{[]string{"limit 3/30s", "allow all"}, 24, 96},
		{[]string{"limit 3/30s per /56", "allow all"}, 3, 96},
		{[]string{"limit 3/30s per /48", "allow all"}, 3, 3},
		{[]string{"limit 3/30s per /128", "allow all"}, 24, 96},
		{[]string{"limit 3/30s", "limit 50/30s per /48", "allow all"}, 24, 50},
		{[]string{"limit 3/30s", "limit 50/1h per /48", "allow all"}, 24, 50},
		{[]string{"limit 3/30s", "limit 500/30s per /48", "allow all"}, 24, 500},
		{[]string{"limit 3/30s", "limit 500/30s per /48 fe80::/10", "allow all"}, 24, 96}, // for others
		{[]string{"limit 3/30s ipv6", "limit 500/30s per /48 ipv6", "allow all"}, 24, 500},
		{[]string{"limit 3/30s", "limit 500/30s per /56", "limit 500/30s per /48", "allow all"}, 500, 500},
		{[]string{"conns 3", "allow all"}, 24, 96},
	} {
		synctest.Test(t, func(t *testing.T) {
			for _, part := range []struct {
				step uint64
				want int
			}{{1, row.in56}, {256, row.in48}} {
				p := mustCompile(t, Env{}, row.rules...)
				passed := 0
				for i := range uint64(200) {
					for range 5 {
						if p.Check(Client{Addr: addr6(u128{0x20010db8_00010000 + i*part.step, 1})}).Allow {
							passed++
						}
					}
				}
				if passed != part.want {
					t.Errorf("%q: %d pass in steps of %d, want %d", row.rules, passed, part.step, part.want)
				}
			}
		})
	}
}

// An attempt that a later rule refuses is counted at no gate before it.
func TestRefusedIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list List
		env := Env{Lists: map[string]*List{"banned": &list}}
		p := mustCompile(t, env, "limit 3/30s", "conns 5", "limit 5/1h", "deny banned", "allow all")
		client := spellings("192.0.2.1")[0]
		list.Swap(SetOf(must(ParsePrefix("192.0.2.1"))))
		checkMany(t, p, "192.0.2.1", 50, 0)
		list.Swap(nil)
		if e := p.Explain(client, time.Time{}, nil); e.Steps[0].Why != "0 of 3 used by 192.0.2.1" || e.Steps[1].Why != "0 of 5 used by 192.0.2.1" {
			t.Errorf("%+v", e.Steps)
		}
		checkMany(t, p, "192.0.2.1", 50, 3)
		time.Sleep(30 * time.Second)
		checkMany(t, p, "192.0.2.1", 50, 2) // the hour's bound, which cost the first gate nothing
		if e := p.Explain(client, time.Time{}, nil); e.Steps[0].Why != "2 of 3 used by 192.0.2.1" {
			t.Errorf("%+v", e.Steps)
		}
	})
}

// Who never came can be refused with his whole /56, and Explain says by whom.
func TestExplainNamesTheTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustCompile(t, Env{}, "limit 2/30s", "allow all")
		for i := range 16 {
			checkMany(t, p, fmt.Sprintf("2001:db8:0:%x::1", i), 1, 1)
		}
		e := p.Explain(spellings("2001:db8:0:ff::1")[0], time.Time{}, nil)
		if want := "more than 2 attempts in 30s: 16 of 16 used by 2001:db8::/56"; e.Verdict.Why != want || e.Steps[0].Why != want {
			t.Errorf("got %q (%+v), want %q", e.Verdict.Why, e.Steps, want)
		}
	})
}

// "conns N": connections that live. Release gives back, once.
func TestConns(t *testing.T) {
	p := mustCompile(t, Env{}, "conns 2 ipv6", "allow all")
	client := spellings("2001:db8::1")[0]
	first, second, third := p.Check(client), p.Check(client), p.Check(client)
	if !first.Allow || !second.Allow || third.Allow || third.Status != 429 || third.RetryAfter != 0 || third.Why != "more than 2 connections" {
		t.Fatalf("%+v %+v %+v", first, second, third)
	}
	checkMany(t, p, "192.0.2.1", 9, 9)
	third.Release()
	checkMany(t, p, "2001:db8::2", 1, 0)
	first.Release()
	first.Release()
	fourth := p.Check(client)
	if !fourth.Allow || p.Check(client).Allow {
		t.Error("a release gives back one, and only once")
	}
	// Living connections are judged without the gates.
	if !p.Recheck(client).Allow {
		t.Error("Recheck sees the gate")
	}
}

// Counts outlive a reload where the rule is the same, in the same site.
func TestReloadKeepsCounts(t *testing.T) {
	env := Env{Limits: NewLimits(0), Scope: "www"}
	old := mustCompile(t, env, "limit 3/30s", "allow all")
	checkMany(t, old, "192.0.2.1", 9, 3)
	held := mustCompile(t, env, "conns 1", "allow all").Check(spellings("192.0.2.1")[0])
	for _, row := range []struct {
		scope string
		rules []string
		want  int
	}{
		{"www", []string{"deny 198.51.100.0/24", "limit 3/30s", "allow all"}, 0},
		{"www", []string{"limit 4/30s", "allow all"}, 4},
		{"mail", []string{"limit 3/30s", "allow all"}, 3},
		{"www", []string{"conns 1", "allow all"}, 0},
	} {
		env.Scope = row.scope
		checkMany(t, mustCompile(t, env, row.rules...), "192.0.2.1", 9, row.want)
	}
	held.Release()
}

func TestMaxGates(t *testing.T) {
	var rules []string
	for i := range 9 {
		rules = append(rules, fmt.Sprintf("limit %d/30s", i+1))
	}
	_, err := Compile(texts(rules), Env{})
	if want := `genkan.toml:9:11: access "limit 9/30s": more than 8 gates (limit, conns) in one access`; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
