package acl

import (
	"slices"
	"testing"
)

// Each verdict is counted by the rule that made it; explain and Recheck count
// nothing, and a reload goes on with the counts of the rules that stayed.
func TestTallies(t *testing.T) {
	rules := func(texts ...string) (all []RuleText) {
		for i, text := range texts {
			all = append(all, RuleText{text, Pos{"genkan.toml", i + 1, 1}})
		}
		return all
	}
	mustPolicy := func(texts ...string) *Policy {
		p, err := Compile(rules(texts...), Env{Limits: NewLimits(0)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	at := func(line int) Pos { return Pos{"genkan.toml", line, 1} }
	client := func(s string) Client {
		a, err := ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		return Client{Addr: a}
	}
	p := mustPolicy("deny 192.0.2.66", "limit 2/1h", "allow 192.0.2.0/24")
	for _, s := range []string{"192.0.2.66", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "2001:db8::1"} {
		p.Check(client(s))
		p.Recheck(client(s))
	}
	want := []Tally{
		{"deny 192.0.2.66", at(1), 0, 1, 0},
		{"limit 2/1h", at(2), 0, 0, 1},
		{"allow 192.0.2.0/24", at(3), 2, 0, 0},
		{"", Pos{}, 0, 1, 0},
	}
	if got := p.Tallies(); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	next := mustPolicy("allow 192.0.2.0/24", "deny 192.0.2.66", "deny 192.0.2.66")
	next.Continue(p)
	next.Check(client("192.0.2.1"))
	want = []Tally{
		{"allow 192.0.2.0/24", at(1), 3, 0, 0},
		{"deny 192.0.2.66", at(2), 0, 1, 0},
		{"deny 192.0.2.66", at(3), 0, 0, 0},
		{"", Pos{}, 0, 1, 0},
	}
	if got := next.Tallies(); !slices.Equal(got, want) {
		t.Errorf("after a reload:\ngot  %v\nwant %v", got, want)
	}
	// Taken back while p decides: the race detector watches.
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Check(client("192.0.2.1"))
	}()
	p.Continue(next)
	<-done
	open := AllowAll()
	open.Check(client("192.0.2.1"))
	if got, want := open.Tallies(), []Tally{{Allowed: 1}}; !slices.Equal(got, want) {
		t.Errorf("no access: got %v, want %v", got, want)
	}
}
