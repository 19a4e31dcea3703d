package tunnel_test

import (
	"net/netip"
	"strings"
	"testing"

	"genkan/tunnel"
)

// A running tunnel takes another configuration: what differs is made anew, the rest stays, and what cannot be had
// changes nothing.
func TestApply(t *testing.T) {
	relay := netip.MustParseAddr("203.0.113.77")
	for _, row := range []struct {
		name   string
		change func(*tunnel.Config)
		check  func(tunnel.Status) bool
		err    string
	}{
		{name: "mtu", change: func(c *tunnel.Config) { c.MTU = 1400 }, check: func(s tunnel.Status) bool { return s.MTU == 1400 }},
		{name: "expose", change: func(c *tunnel.Config) { c.Expose = tunnel.ExposeListeners }, check: func(s tunnel.Status) bool { return s.Expose == "listeners" && s.Filter != "none" }},
		{name: "relays", change: func(c *tunnel.Config) { c.Relays = append(c.Relays, relay) }, check: func(s tunnel.Status) bool { return len(s.Relays) == 2 && s.Relay != relay }},
		{name: "ttl", change: func(c *tunnel.Config) { c.TTL = 32 }, check: func(tunnel.Status) bool { return true }},
		{name: "name", change: func(c *tunnel.Config) { c.Interface = "other" }, err: `tunnel: interface "tun6rd" cannot become "other" while it runs; restart for that`},
		{name: "nonsense", change: func(c *tunnel.Config) { c.TTL = 300 }, err: "tunnel: ttl 300: outside 1 to 255"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := pair(t)
			whole(t, p, "before")
			cfg := p.Edge.Config()
			cfg.Inherited = nil
			address := p.Edge.Address()
			row.change(&cfg)
			err := p.Edge.Apply(t.Context(), cfg)
			switch {
			case row.err == "" && err != nil:
				t.Fatal(err)
			case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
				t.Errorf("error %v, want %s", err, row.err)
			case row.err == "" && !row.check(p.Edge.Status()):
				t.Errorf("status %+v", p.Edge.Status())
			}
			if p.Edge.Address() != address {
				t.Errorf("address %s, was %s", p.Edge.Address(), address)
			}
			if row.name != "expose" {
				whole(t, p, "after")
			}
		})
	}
}

// The datapath itself can be another one, if this kernel has it.
func TestApplyDatapath(t *testing.T) {
	p := pair(t)
	whole(t, p, "before")
	for _, name := range []string{tunnel.DatapathEBPF, tunnel.DatapathKernel, tunnel.DatapathUserspace, tunnel.DatapathAuto} {
		cfg := p.Edge.Config()
		cfg.Datapath = name
		was := p.Edge.Datapath()
		if err := p.Edge.Apply(t.Context(), cfg); err != nil {
			t.Logf("%s: %v", name, err)
			if got := p.Edge.Datapath(); got != was {
				t.Errorf("datapath %s after an error, was %s", got, was)
			}
		} else if got := p.Edge.Datapath(); got != name && name != tunnel.DatapathAuto {
			t.Errorf("datapath %s, want %s", got, name)
		}
		whole(t, p, name)
	}
	if links := strings.Count(p.EdgeNS.Snapshot(), "link tun6rd"); links > 1 {
		t.Errorf("%d interfaces:\n%s", links, p.EdgeNS.Snapshot())
	}
}
