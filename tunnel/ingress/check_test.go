package ingress

import (
	"net/netip"
	"testing"

	"genkan/tunnel/sixrd"
)

const (
	ce      = "192.0.2.1"              // another edge
	ceAddr  = "2001:db8:c000:201::1"   // its 6rd address
	ceOther = "2001:db8:c000:209::1"   // a 6rd address of a third edge
	us      = "2001:db8:c000:20a::1"   // our 6rd address
	ourSub  = "2001:db8:c000:20a:1::7" // ours too
)

// TestEdge is the policy of a customer edge, verdict first. facts: RFC 5969
// §9.2, §12; RFC 4213 §3.6; RFC 6324; RFC 3964 §5.3.
func TestEdge(t *testing.T) {
	for _, row := range []struct {
		want Reason
		name string
		p    packet
	}{
		{Pass, "from-relay", packet{}},
		{Pass, "from-edge", packet{outerSrc: ce, src: ceAddr}},
		{Pass, "edge-subnet", packet{outerSrc: ce, src: "2001:db8:c000:201:ffff::2"}},
		{Pass, "our-subnet", packet{dst: ourSub}},
		{Pass, "hairpin", packet{src: ceAddr}}, // RFC 5969 §12: a relay may
		{Pass, "documentation-6to4", packet{src: "2002:cb00:7109::1"}},
		{Pass, "nat64-public", packet{src: "64:ff9b::808:808"}},
		{Pass, "teredo", packet{src: "2001:0:4136:e378:8000:63bf:3fff:fdd2"}},

		{OuterDestination, "outer-broadcast", packet{outerDst: "255.255.255.255"}},
		{OuterDestination, "outer-directed-broadcast", packet{outerDst: "192.0.2.255"}},
		{OuterDestination, "outer-multicast", packet{outerDst: "224.0.0.1"}},
		{OuterDestination, "outer-neighbour", packet{outerDst: "192.0.2.11"}},
		{OuterMartian, "outer-zero", packet{outerSrc: "0.0.0.0", src: "2001:db8::1"}},
		{OuterMartian, "outer-this-net", packet{outerSrc: "0.1.2.3", src: "2001:db8:1:203::1"}},
		{OuterMartian, "outer-loopback", packet{outerSrc: "127.0.0.1", src: "2001:db8:7f00:1::1"}},
		{OuterMartian, "outer-multicast-source", packet{outerSrc: "224.0.0.1", src: "2001:db8:e000:1::1"}},
		{OuterMartian, "outer-class-e", packet{outerSrc: "240.0.0.1", src: "2001:db8:f000:1::1"}},
		{OuterMartian, "outer-limited-broadcast", packet{outerSrc: "255.255.255.255", src: "2001:db8:ffff:ffff::1"}},
		{OuterMartian, "outer-broadcast-source", packet{outerSrc: "192.0.2.255", src: "2001:db8:c000:2ff::1"}},
		{OuterSelf, "outer-self", packet{outerSrc: "192.0.2.10"}},
		{OuterSelf, "outer-self-own-source", packet{outerSrc: "192.0.2.10", src: ourSub}},

		{InnerMartian, "unspecified", packet{src: "::"}},
		{InnerMartian, "loopback", packet{src: "::1"}},
		{InnerMartian, "mapped", packet{src: "::ffff:192.0.2.9"}},
		{InnerMartian, "mapped-private", packet{src: "::ffff:10.1.2.3"}},
		{InnerMartian, "compatible", packet{src: "::192.0.2.9"}},
		{InnerMartian, "siit", packet{src: "::ffff:0:192.0.2.9"}},
		{InnerMartian, "multicast", packet{src: "ff02::1"}},
		{InnerMartian, "link-local", packet{src: "fe80::1"}},
		{InnerMartian, "site-local", packet{src: "fec0::1"}},
		{InnerMartian, "ula", packet{src: "fd00::1"}},
		{InnerMartian, "nat64-local", packet{src: "64:ff9b:1::1"}},
		{InnerMartian, "nat64-private", packet{src: "64:ff9b::10.0.0.1"}},
		{InnerMartian, "nat64-loopback", packet{src: "64:ff9b::127.0.0.1"}},
		{InnerMartian, "discard-only", packet{src: "100::1"}},
		{InnerMartian, "unallocated", packet{src: "4000::1"}},
		{InnerMartian, "6to4-loopback", packet{src: "2002:7f00:1::1"}},
		{InnerMartian, "6to4-private", packet{src: "2002:a00::1"}},
		{InnerMartian, "6to4-multicast", packet{src: "2002:e000::1"}},
		{InnerMartian, "6to4-shared", packet{src: "2002:6440:1::1"}},
		{InnerMartian, "6rd-of-loopback", packet{src: "2001:db8:7f00:1::1"}},
		{InnerMartian, "6rd-of-multicast", packet{src: "2001:db8:e000:1::1"}},
		{InnerMartian, "6rd-of-our-broadcast", packet{src: "2001:db8:c000:2ff::1"}},
		{InnerMartian, "6to4-of-our-broadcast", packet{src: "2002:c000:2ff::1"}},

		{InnerMartianDst, "to-all-nodes", packet{dst: "ff02::1"}},
		{InnerMartianDst, "to-global-multicast", packet{dst: "ff0e::1"}},
		{InnerMartianDst, "to-loopback", packet{dst: "::1"}},
		{InnerMartianDst, "to-unspecified", packet{dst: "::"}},
		{InnerMartianDst, "to-link-local", packet{dst: "fe80::1"}},
		{InnerMartianDst, "to-mapped", packet{dst: "::ffff:192.0.2.10"}},
		{InnerMartianDst, "to-compatible", packet{dst: "::192.0.2.10"}},

		{Land, "land", packet{src: us}},
		{Loop, "to-relay", packet{dst: "2001:db8:c633:6401::1"}},
		{Loop, "to-our-6to4", packet{dst: "2002:c000:20a::1"}},
		{Loop, "to-our-isatap", packet{dst: "2606:4700::5efe:192.0.2.10"}},
		{Loop, "to-our-isatap-universal", packet{dst: "2606:4700::200:5efe:192.0.2.10"}},
		{Loop, "to-our-isatap-in-our-prefix", packet{dst: "2001:db8:c000:20a::5efe:192.0.2.10"}},
		{NotMine, "to-internet", packet{outerSrc: ce, src: ceAddr, dst: "2001:4860::1"}},
		{NotMine, "to-another-edge", packet{outerSrc: ce, src: ceAddr, dst: ceOther}},
		{OwnSource, "own-source-from-relay", packet{src: ourSub}},
		{OwnSource, "own-source-from-edge", packet{outerSrc: ce, src: ourSub}},
		{OwnSource, "our-6to4", packet{src: "2002:c000:20a::1"}},
		{OwnSource, "our-isatap", packet{src: "2606:4700::5efe:192.0.2.10"}},
		{OwnSource, "our-isatap-from-edge", packet{outerSrc: ce, src: "2001:db8:c000:201:200:5efe:c000:20a"}},
		{SrcSpoof, "spoofed", packet{outerSrc: ce, src: ceOther}},
		{SrcSpoof, "relay-address-from-edge", packet{outerSrc: ce, src: "2001:db8:c633:6401::1"}},
		{NotRelay, "native-from-edge", packet{outerSrc: ce}},
		{NotRelay, "6to4-direct", packet{outerSrc: "203.0.113.9", src: "2002:cb00:7109::1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := mustNew(t, configs["A"]).Check(row.p.bytes()); got != row.want {
				t.Errorf("Check = %v, want %v", got, row.want)
			}
		})
	}
}

// relayConfig is the relay of configuration A.
var relayConfig = Config{
	Kind:  Relay,
	Local: netip.MustParseAddr("198.51.100.1"),
	Domain: sixrd.Domain{
		Prefix: netip.MustParsePrefix("2001:db8::/32"),
		Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")},
	},
}

// TestRelay is the policy of a border relay (RFC 5969 §12, RFC 6324 §3).
func TestRelay(t *testing.T) {
	noHairpin := relayConfig
	noHairpin.NoHairpin = true
	const br = "198.51.100.1"
	for _, row := range []struct {
		want, strict Reason // strict: without hairpin
		name         string
		p            packet
	}{
		{Pass, Pass, "to-internet", packet{outerSrc: ce, src: ceAddr, dst: "2606:4700::1"}},
		{Pass, NotMine, "hairpin", packet{outerSrc: ce, src: ceAddr, dst: ceOther}},
		{Pass, Pass, "probe", packet{outerSrc: ce, src: ceAddr, dst: ceAddr}}, // RFC 5969 §8
		{Pass, Pass, "udp-without-checksum", packet{outerSrc: ce, src: ceAddr, dst: "2606:4700::1", next: 17, payload: udp(0)}},
		{SrcSpoof, SrcSpoof, "spoofed", packet{outerSrc: ce, src: ceOther, dst: "2606:4700::1"}},
		{NotRelay, NotRelay, "native-source", packet{outerSrc: ce, src: "2606:4700::2", dst: "2606:4700::1"}},
		{NotRelay, NotRelay, "native-from-other-relay", packet{outerSrc: "198.51.100.2", src: "2606:4700::2", dst: ceAddr}},
		{Pass, Pass, "to-our-anycast-address", packet{outerSrc: ce, src: ceAddr, dst: "2001:db8:c633:6401::"}},
		{SrcSpoof, SrcSpoof, "spoofed-to-our-anycast-address", packet{outerSrc: ce, src: ceOther, dst: "2001:db8:c633:6401::"}},
		{Loop, Loop, "to-other-relays-anycast-address", packet{outerSrc: ce, src: ceAddr, dst: "2001:db8:c633:6402::"}},
		{Loop, Loop, "to-ourselves", packet{outerSrc: ce, src: ceAddr, dst: "2001:db8:c633:6401::1"}},
		{Loop, Loop, "to-other-relay", packet{outerSrc: ce, src: ceAddr, dst: "2001:db8:c633:6402::1"}},
		{Loop, Loop, "to-our-6to4", packet{outerSrc: ce, src: ceAddr, dst: "2002:c633:6401::1"}},
		{Loop, Loop, "to-our-isatap", packet{outerSrc: ce, src: ceAddr, dst: "2606:4700::5efe:198.51.100.1"}},
		{InnerMartianDst, InnerMartianDst, "to-multicast", packet{outerSrc: ce, src: ceAddr, dst: "ff0e::1"}},
		{InnerMartianDst, InnerMartianDst, "to-mapped", packet{outerSrc: ce, src: ceAddr, dst: "::ffff:192.0.2.1"}},
		{InnerMartianDst, InnerMartianDst, "to-6rd-of-loopback", packet{outerSrc: ce, src: ceAddr, dst: "2001:db8:7f00:1::1"}},
		{InnerMartian, InnerMartian, "link-local", packet{outerSrc: ce, src: "fe80::1", dst: "2606:4700::1"}},
		{OuterSelf, OuterSelf, "from-ourselves", packet{outerSrc: br, src: "2001:db8:c633:6401::1", dst: "2606:4700::1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.p.outerDst = br
			if got := mustNew(t, relayConfig).Check(row.p.bytes()); got != row.want {
				t.Errorf("Check = %v, want %v", got, row.want)
			}
			if got := mustNew(t, noHairpin).Check(row.p.bytes()); got != row.strict {
				t.Errorf("Check without hairpin = %v, want %v", got, row.strict)
			}
		})
	}
}

// TestConfigured is the policy of a configured tunnel (RFC 4213 §3.6, RFC 4891).
func TestConfigured(t *testing.T) {
	const own = "2001:db8:100::2"
	for _, row := range []struct {
		want Reason
		name string
		p    packet
	}{
		{Pass, "from-remote", packet{dst: own}},
		{Pass, "from-peer", packet{dst: own, src: "2001:db8:100::1"}},
		{Pass, "nud-probe", packet{dst: own, src: "2001:db8:100::1", next: 58, hops: 255, payload: icmp6(135, 0, make([]byte, 16))}},
		{NeighborDiscovery, "nud-probe-routed", packet{dst: own, src: "2001:db8:100::1", next: 58, hops: 254, payload: icmp6(135, 0, make([]byte, 16))}},
		{NeighborDiscovery, "router-advertisement", packet{dst: own, src: "2001:db8:100::1", next: 58, hops: 255, payload: icmp6(134, 0, nil)}},
		{NotRelay, "from-another", packet{dst: own, outerSrc: ce}},
		{OuterMartian, "loopback", packet{dst: own, outerSrc: "127.0.0.1"}},
		{OwnSource, "own-source", packet{dst: "2001:db8:200::1", src: own}},
		{OwnSource, "our-6to4", packet{dst: own, src: "2002:c000:20a::1"}},
		{Land, "land", packet{dst: own, src: own}},
		{InnerMartian, "mapped", packet{dst: own, src: "::ffff:10.1.2.3"}},
		{NotMine, "to-peer", packet{dst: "2001:db8:100::1"}},
		{NotMine, "to-internet", packet{dst: "2606:4700::2"}},
		{Pass, "to-routed", packet{dst: "2001:db8:200::5"}},
		{Loop, "to-our-6to4", packet{dst: "2002:c000:20a::1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := configs["C"]
			cfg.Own = append([]netip.Prefix{netip.MustParsePrefix("2001:db8:200::/48")}, cfg.Own...)
			if got := mustNew(t, cfg).Check(row.p.bytes()); got != row.want {
				t.Errorf("Check = %v, want %v", got, row.want)
			}
		})
	}
}

// TestOuter is the validation of the outer header.
func TestOuter(t *testing.T) {
	edit := func(f func(b []byte) []byte) []byte { return f(packet{}.bytes()) }
	rightSum := func(b []byte) []byte {
		b[10], b[11] = 0, 0
		s := ^sum16(b[:int(b[0]&15)*4])
		b[10], b[11] = byte(s>>8), byte(s)
		return b
	}
	for _, row := range []struct {
		want Reason
		name string
		pkt  []byte
	}{
		{Tiny, "nothing", nil},
		{Tiny, "19-bytes", packet{}.bytes()[:19]},
		{NotTunnel, "ipv6-outside", edit(func(b []byte) []byte { b[0] = 0x65; return b })},
		{NotTunnel, "tcp", edit(func(b []byte) []byte { b[9] = 6; return rightSum(b) })},
		{OuterMalformed, "ihl-4", edit(func(b []byte) []byte { b[0] = 0x44; return b })},
		{OuterMalformed, "total-below-header", edit(func(b []byte) []byte { b[2], b[3] = 0, 19; return rightSum(b) })},
		{OuterMalformed, "checksum", edit(func(b []byte) []byte { b[10] ^= 1; return b })},
		{OuterLength, "cut", edit(func(b []byte) []byte { return b[:len(b)-1] })},
		{Pass, "ethernet-padding", edit(func(b []byte) []byte { return append(b, 0, 0, 0, 0) })},
		{Tiny, "39-inner-bytes", edit(func(b []byte) []byte { b[3] = 59; return rightSum(b[:59]) })},
		{Tiny, "total-shorter-than-read", edit(func(b []byte) []byte { b[3] = 24; return rightSum(b) })},
		{Pass, "inner-trailer", packet{payload: make([]byte, 16), next: 59, length: 8}.bytes()},
		{BadLength, "inner-too-long", packet{payload: make([]byte, 16), next: 59, length: 17}.bytes()},
		{BadVersion, "inner-ipv4", edit(func(b []byte) []byte { b[20] = 0x45; return b })},
		{Pass, "options-nop", packet{options: []byte{1, 1, 1, 0}}.bytes()},
		{Pass, "router-alert", packet{options: []byte{0x94, 4, 0, 0}}.bytes()},
		{SourceRoute, "loose", packet{options: []byte{1, 0x83, 3, 4}}.bytes()},
		{SourceRoute, "strict", packet{options: []byte{0x89, 3, 4, 0}}.bytes()},
		{OuterMalformed, "option-length-0", packet{options: []byte{7, 0, 0, 0}}.bytes()},
		{OuterMalformed, "option-beyond", packet{options: []byte{7, 9, 4, 0}}.bytes()},
		{OuterMalformed, "option-cut", packet{options: []byte{1, 1, 1, 7}}.bytes()},
		{Fragment, "first-fragment", packet{flags: 0x2000}.bytes()},
		{Fragment, "last-fragment", packet{flags: 0x0003}.bytes()},
		{Pass, "df", packet{flags: 0x4000}.bytes()},
		{OuterMartian, "martian-fragment", packet{flags: 0x2000, outerSrc: "127.0.0.1"}.bytes()},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := mustNew(t, configs["A"]).Check(row.pkt); got != row.want {
				t.Errorf("Check = %v, want %v", got, row.want)
			}
		})
	}
}

func TestZeroPassesNothing(t *testing.T) {
	good := packet{}.bytes()
	var none *Checker
	for _, c := range []*Checker{none, new(Checker)} {
		if got := c.Check(good); got != Unchecked {
			t.Errorf("Check = %v, want unchecked", got)
		}
		if _, got := c.Egress(good[outerMin:]); got != Unchecked {
			t.Errorf("Egress = %v, want unchecked", got)
		}
	}
	if Reason(0) == Pass {
		t.Error("the zero Reason passes")
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]Reason{}
	for r := Reason(0); r < NumReasons; r++ {
		if r.String() == "" {
			t.Errorf("reason %d has no name", r)
		}
		if other, ok := seen[r.String()]; ok {
			t.Errorf("reasons %d and %d are both %q", r, other, r)
		}
		seen[r.String()] = r
	}
	if got := NumReasons.String(); got != "unknown" {
		t.Errorf("NumReasons is %q", got)
	}
}

func TestNoAllocations(t *testing.T) {
	c := mustNew(t, configs["A"])
	pkt := packet{next: 0, payload: join(header(17, 1, 4, 0, 0, 0, 0), udp(7))}.bytes()
	out := packet{src: us, dst: "2606:4700::1"}.bytes()[outerMin:]
	var r, e Reason
	if n := testing.AllocsPerRun(100, func() { r = c.Check(pkt); _, e = c.Egress(out) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if r != Pass || e != Pass {
		t.Errorf("Check = %v, Egress = %v", r, e)
	}
}

func BenchmarkCheck(b *testing.B) {
	c := mustNew(b, configs["A"])
	pkt := packet{next: 17, payload: udp(7)}.bytes()
	for b.Loop() {
		if c.Check(pkt) != Pass {
			b.Fatal("not passed")
		}
	}
}
