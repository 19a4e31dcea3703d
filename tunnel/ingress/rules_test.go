package ingress

import (
	"net/netip"
	"testing"
)

// TestRules: the exported table says the same as Check, for those who generate
// other filters from it.
func TestRules(t *testing.T) {
	c := mustNew(t, configs["A"])
	rules := c.Rules()
	rules[0] = Rule{}
	if got := c.Check(packet{outerDst: "192.0.2.11"}.bytes()); got != OuterDestination {
		t.Errorf("changing the copy changed the Checker: %v", got)
	}
	inner := false
	for _, r := range c.Rules() {
		if len(r.In) == 0 || r.Reason <= Fragment {
			t.Errorf("%v: rule on %v without patterns", r.Reason, r.Field)
		}
		if isInner := r.Field == InnerSrc || r.Field == InnerDst; inner && !isInner {
			t.Errorf("%v: outer rule behind an inner one", r.Reason)
		} else {
			inner = isInner
		}
		for _, p := range append(append([]Pattern{}, r.In...), r.Except...) {
			if p.Hi&^p.HiMask != 0 || p.Lo&^p.LoMask != 0 {
				t.Errorf("%v: pattern %v has bits outside of its mask", r.Reason, p)
			}
		}
	}
}

func TestPattern(t *testing.T) {
	for _, text := range []string{"2001:db8::/32", "::/0", "::1/128", "2001:db8:0:2::/63", "64:ff9b::a00:0/104"} {
		want := netip.MustParsePrefix(text)
		if got, ok := v6(want).Prefix(); !ok || got != want {
			t.Errorf("Prefix of %v = %v, %v", want, got, ok)
		}
	}
	if p, ok := isatap(netip.MustParseAddr("192.0.2.10")).Prefix(); ok {
		t.Errorf("ISATAP is the prefix %v", p)
	}
	for _, text := range []string{"0.0.0.0/0", "192.0.2.10/32", "224.0.0.0/3"} {
		want := netip.MustParsePrefix(text)
		if got := patterns4([]netip.Prefix{want})[0].Prefix4(); got != want {
			t.Errorf("Prefix4 of %v = %v", want, got)
		}
	}
	if got := v4(netip.MustParseAddr("192.0.2.10")).String(); got != "000000000000000000000000c000020a/000000000000000000000000ffffffff" {
		t.Errorf("String = %s", got)
	}
}
