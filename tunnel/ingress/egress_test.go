package ingress

import (
	"net/netip"
	"testing"
)

// TestEgress: where packets go, and which stay (RFC 5969 §9.1, §12).
func TestEgress(t *testing.T) {
	const br = "198.51.100.1"
	for _, row := range []struct {
		config   string
		want     Reason
		to       string
		src, dst string
	}{
		{"A", Pass, br, us, "2606:4700::1"},
		{"A", Pass, ce, us, ceAddr},
		{"A", Pass, br, ourSub, "2001:db8:c633:6401::1"},
		{"A", EgressMartian, "", us, "ff02::16"},
		{"A", EgressMartian, "", "fe80::1", "ff02::2"},
		{"A", EgressMartian, "", us, "fe80::2"},
		{"A", EgressMartian, "", "::", "2606:4700::1"},
		{"A", EgressMartian, "", us, "::ffff:192.0.2.1"},
		{"A", EgressMartian, "", us, "::1"},
		{"A", EgressSource, "", ceAddr, "2606:4700::1"},
		{"A", EgressSource, "", "fd00::1", "2606:4700::1"},
		{"A", EgressLoop, "", us, ourSub},
		{"A", EgressUnroutable, "", us, "2001:db8:7f00:1::1"},
		{"A", EgressUnroutable, "", us, "2001:db8:0:1::1"},
		{"A", EgressUnroutable, "", us, "2001:db8:e000:1::1"},
		{"A", EgressUnroutable, "", us, "2001:db8:ffff:ffff::1"},
		{"A", EgressUnroutable, "", us, "2001:db8:c000:2ff::1"}, // the uplink's broadcast
		{"B", Pass, "10.0.0.1", "2001:db8:6464:100::1", "2606:4700::1"},
		{"B", Pass, "10.1.2.3", "2001:db8:6464:100::1", "2001:db8:102:300::1"},
		{"B", EgressLoop, "", "2001:db8:6464:100::1", "2001:db8:6464:1ff::1"},
		{"C", Pass, br, "2001:db8:100::2", "2606:4700::1"},
		{"C", Pass, br, "2001:db8:100::2", "2001:db8:c000:201::1"},
		{"C", EgressSource, "", "2001:db8:100::3", "2606:4700::1"},
		{"relay", Pass, ce, "2606:4700::1", ceAddr},
		{"relay", EgressUnroutable, "", "2606:4700::1", "2606:4700::2"},
		{"relay", EgressLoop, "", "2606:4700::1", "2001:db8:c633:6401::1"},
		{"relay", EgressMartian, "", "2606:4700::1", "ff0e::1"},
		// RFC 6324 §3.1: by a 6to4 relay, or an ISATAP router, it would be back.
		{"relay", EgressMartian, "", "2002:c633:6401::1", ceAddr},
		{"relay", EgressMartian, "", "2606:4700::5efe:198.51.100.1", ceAddr},
		{"relay", EgressMartian, "", "2606:4700::1", "2001:db8:c000:201:200:5efe:c633:6401"},
		{"relay", Pass, ce, "2002:cb00:7109::1", ceAddr},
	} {
		cfg := configs[row.config]
		if row.config == "relay" {
			cfg = relayConfig
		}
		to, r := mustNew(t, cfg).Egress(packet{src: row.src, dst: row.dst}.bytes()[outerMin:])
		want := [4]byte{}
		if row.to != "" {
			want = netip.MustParseAddr(row.to).As4()
		}
		if r != row.want || to != want {
			t.Errorf("%s: %s to %s: %v by %v, want %v by %v", row.config, row.src, row.dst, r, to, row.want, want)
		}
	}
}

func TestEgressBad(t *testing.T) {
	c := mustNew(t, configs["A"])
	good := packet{src: us, dst: "2606:4700::1", next: 17, payload: udp(1)}.bytes()[outerMin:]
	for _, row := range []struct {
		want Reason
		pkt  []byte
	}{
		{Tiny, nil},
		{Tiny, good[:39]},
		{BadLength, good[:47]},
		{BadVersion, append([]byte{0x45}, good[1:]...)},
		{Pass, good},
	} {
		if _, r := c.Egress(row.pkt); r != row.want {
			t.Errorf("%d bytes: %v, want %v", len(row.pkt), r, row.want)
		}
	}
}

func TestGateway(t *testing.T) {
	cfg := configs["A"]
	second := netip.MustParseAddr("198.51.100.2")
	cfg.Domain.Relays = append([]netip.Addr{second}, cfg.Domain.Relays...)
	cfg.Gateway = netip.MustParseAddr("198.51.100.1")
	to, r := mustNew(t, cfg).Egress(packet{src: us, dst: "2606:4700::1"}.bytes()[outerMin:])
	if r != Pass || to != cfg.Gateway.As4() {
		t.Errorf("goes to %v (%v), want the gateway", to, r)
	}
	if got := mustNew(t, cfg).Check(packet{outerSrc: "198.51.100.2"}.bytes()); got != Pass {
		t.Errorf("from the other relay: %v", got)
	}
}

func TestAnswer(t *testing.T) {
	for r := Reason(0); r < NumReasons; r++ {
		typ, code, ok := r.Answer()
		want := r == EgressSource || r == EgressUnroutable || r == EgressLoop
		if ok != want || ok && (typ != 1 || (code != 5) != (r != EgressSource)) {
			t.Errorf("%v: answer %d/%d %v", r, typ, code, ok)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	a := netip.MustParseAddr
	for _, row := range []struct {
		from string
		edit func(*Config)
		want string
	}{
		{"A", func(c *Config) { *c = Config{} }, `ingress: local address "invalid IP" is not IPv4; write an IPv4 address`},
		{"A", func(c *Config) { c.Kind = 0 }, `ingress: kind 0 of tunnel is not known; use Edge, Relay or Configured`},
		{"A", func(c *Config) { c.Local = a("127.0.0.1") }, `ingress: local address "127.0.0.1" lies in "127.0.0.0/8"; write a unicast address`},
		{"A", func(c *Config) { c.Local = a("2001:db8::1") }, `ingress: local address "2001:db8::1" is not IPv4; write an IPv4 address`},
		{"A", func(c *Config) { c.Broadcasts = []netip.Addr{a("::1")} }, `ingress: broadcast address "::1" is not IPv4; give the uplink's IPv4 broadcast addresses`},
		{"A", func(c *Config) { c.MTU = 1279 }, `ingress: mtu 1279; write 1280 to 65515`},
		{"A", func(c *Config) { c.MTU = 65516 }, `ingress: mtu 65516; write 1280 to 65515`},
		{"A", func(c *Config) { c.Domain.Relays = nil }, `ingress: no border relay; write the provider's in relays`},
		{"A", func(c *Config) { c.Local = a("198.51.100.1") }, `ingress: relay "198.51.100.1" is our own address; a border relay has the role "relay"`},
		{"A", func(c *Config) { c.Gateway = a("198.51.100.9") }, `ingress: gateway "198.51.100.9" is not one of the relays; choose one of [198.51.100.1]`},
		{"A", func(c *Config) { c.Domain.IPv4MaskLen = 33 }, `sixrd: IPv4MaskLen 33; write 0 to 32`},
		{"B", func(c *Config) { c.Local = a("11.0.0.1") }, `sixrd: IPv4 address "11.0.0.1" is outside of the domain's "10.0.0.0/8"; check IPv4MaskLen (8)`},
		{"C", func(c *Config) { c.Remote = netip.Addr{} }, `ingress: remote address "invalid IP" is not IPv4; write an IPv4 address`},
		{"C", func(c *Config) { c.Remote = c.Local }, `ingress: remote "192.0.2.10" is our own address; write the other end's`},
		{"C", func(c *Config) { c.Own = nil }, `ingress: no IPv6 address of our own; write the one that the tunnel broker gave`},
		{"C", func(c *Config) { c.Own = []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")} }, `ingress: own prefix "2001:db8::1/64" is not an IPv6 unicast prefix without host bits; write "2001:db8::/64"`},
	} {
		cfg := configs[row.from]
		row.edit(&cfg)
		if _, err := New(cfg); err == nil || err.Error() != row.want {
			t.Errorf("New = %v\nwant  %s", err, row.want)
		}
	}
}

func TestSendsTo(t *testing.T) {
	for _, row := range []struct {
		config string
		dst    string
		want   bool
	}{
		{"A", "198.51.100.1", true},
		{"A", "203.0.113.1", true},
		{"A", "192.0.2.10", false},
		{"A", "192.0.2.255", false},
		{"A", "127.0.0.1", false},
		{"B", "10.9.9.9", true},
		{"B", "11.9.9.9", false},
		{"C", "198.51.100.1", true},
		{"C", "203.0.113.1", false},
	} {
		if got := mustNew(t, configs[row.config]).SendsTo(netip.MustParseAddr(row.dst).As4()); got != row.want {
			t.Errorf("%s: SendsTo(%s) = %v", row.config, row.dst, got)
		}
	}
	if new(Checker).SendsTo([4]byte{192, 0, 2, 1}) {
		t.Error("the zero Checker sends")
	}
}
