package ingress

import (
	"bytes"
	"testing"
)

// pad8 is an extension header of 8 bytes with one PadN option.
func pad8(next byte) []byte { return header(next, 1, 4, 0, 0, 0, 0) }

// routing is a routing header of a type with segments left.
func routing(next, typ, left byte) []byte { return header(next, typ, left, 0, 0, 0, 0) }

// fragment is a fragment header with the offset in units of 8 bytes.
func fragment(next byte, offset uint16, more bool) []byte {
	o := offset << 3
	if more {
		o |= 1
	}
	return []byte{next, 0, byte(o >> 8), byte(o), 0, 0, 0, 7}
}

func TestPayload(t *testing.T) {
	tcp := make([]byte, 20)
	for _, row := range []struct {
		want    Reason
		name    string
		next    byte
		payload []byte
	}{
		{Pass, "no-next-header", 59, nil},
		{Pass, "tcp", 6, tcp},
		{Pass, "udp", 17, udp(1)},
		{UDPNoChecksum, "udp-0", 17, udp(0)},
		{UDPNoChecksum, "udp-0-behind-options", 60, join(pad8(17), udp(0))},
		{UDPNoChecksum, "udp-0-in-first-fragment", 44, join(fragment(17, 0, true), udp(0))},
		{BadHeader, "udp-cut", 17, udp(1)[:7]},
		{Pass, "sctp", 132, make([]byte, 12)},
		{Pass, "esp", 50, make([]byte, 12)},
		{Nested, "ipv6-in-ipv6", 41, make([]byte, 40)},
		{Nested, "ipv4-in-ipv6", 4, make([]byte, 20)},
		{Nested, "nested-behind-options", 60, join(pad8(41), make([]byte, 40))},

		{Pass, "hop-by-hop", 0, join(pad8(17), udp(1))},
		{BadHeader, "hop-by-hop-twice", 0, join(pad8(0), pad8(17), udp(1))},
		{BadHeader, "hop-by-hop-late", 60, join(pad8(0), pad8(17), udp(1))},
		{BadHeader, "option-beyond-header", 60, join(header(17, 5, 9, 0, 0, 0, 0), udp(1))},
		{BadHeader, "option-without-length", 60, join(header(17, 1, 3, 0, 0, 0, 5), udp(1))},
		{Pass, "seven-pad1", 60, join(header(17, 0x3e, 4, 0, 0, 0, 0), udp(1))},
		{TooManyHeaders, "eight-padding-bytes", 60, join(header(17, bytes.Repeat([]byte{0}, 14)...), udp(1))},
		{TooManyHeaders, "nine-options", 60, join(header(17, bytes.Repeat([]byte{0x3e, 0}, 11)...), udp(1))},
		{Pass, "eight-headers", 60, join(pad8(60), pad8(60), pad8(60), pad8(60), pad8(60), pad8(60), pad8(60), pad8(17), udp(1))},
		{TooManyHeaders, "nine-headers", 60, join(pad8(60), pad8(60), pad8(60), pad8(60), pad8(60), pad8(60), pad8(60), pad8(60), pad8(17), udp(1))},
		{BadHeader, "header-beyond-packet", 60, []byte{17, 255, 1, 4, 0, 0, 0, 0}},
		{BadHeader, "header-cut", 60, []byte{17, 0, 1}},
		{Pass, "auth", 51, join([]byte{17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, udp(1))},
		{BadHeader, "auth-beyond", 51, []byte{17, 9, 0, 0, 0, 0, 0, 0}},

		{RoutingHeader, "rh0", 43, join(routing(17, 0, 1), udp(1))},
		{Pass, "rh0-done", 43, join(routing(17, 0, 0), udp(1))},
		{RoutingHeader, "srh", 43, join(routing(17, 4, 1), udp(1))},
		{RoutingHeader, "rh2", 43, join(routing(17, 2, 1), udp(1))},
		{RoutingHeader, "rh0-behind-options", 0, join(pad8(43), routing(17, 0, 1), udp(1))},
		{RoutingHeader, "rh0-in-fragment", 44, join(fragment(43, 0, true), routing(17, 0, 1), udp(1))},

		{Pass, "atomic-fragment", 44, join(fragment(17, 0, false), udp(1))},
		{Pass, "first-fragment", 44, join(fragment(17, 0, true), udp(1))},
		{Pass, "later-fragment", 44, join(fragment(17, 1, true), udp(0))},
		{FirstFragment, "first-fragment-without-udp", 44, fragment(17, 0, true)},
		{FirstFragment, "first-fragment-tcp-cut", 44, join(fragment(6, 0, true), tcp[:16])},
		{FirstFragment, "first-fragment-chain-cut", 44, join(fragment(60, 0, true), pad8(60), []byte{17, 1, 1, 4, 0, 0, 0, 0})},
		{FirstFragment, "first-fragment-chain-ends", 44, join(fragment(60, 0, true), pad8(17))},
		{BadHeader, "fragment-cut", 44, []byte{17, 0, 0}},

		{Pass, "echo", 58, icmp6(128, 1, nil)},
		{Pass, "node-information", 58, icmp6(139, 1, nil)},
		{BadHeader, "icmp-cut", 58, icmp6(128, 1, nil)[:7]},
		{NeighborDiscovery, "rs", 58, icmp6(133, 0, nil)},
		{NeighborDiscovery, "ra", 58, icmp6(134, 0, nil)},
		{NeighborDiscovery, "ns", 58, icmp6(135, 0, make([]byte, 16))},
		{NeighborDiscovery, "na", 58, icmp6(136, 0, make([]byte, 16))},
		{NeighborDiscovery, "redirect", 58, icmp6(137, 0, make([]byte, 32))},
		{NeighborDiscovery, "mld-query", 58, icmp6(130, 0, make([]byte, 16))},
		{NeighborDiscovery, "mld2-report", 58, icmp6(143, 0, nil)},
		{NeighborDiscovery, "inverse-nd", 58, icmp6(141, 0, nil)},
		{NeighborDiscovery, "mrd", 58, icmp6(151, 0, nil)},
		{NeighborDiscovery, "ra-behind-options", 60, join(pad8(58), icmp6(134, 0, nil))},
		{NeighborDiscovery, "ra-in-fragment", 44, join(fragment(58, 0, true), icmp6(134, 0, nil))},
		{NeighborDiscovery, "redirect-in-atomic-fragment", 44, join(fragment(58, 0, false), icmp6(137, 0, nil))},

		{Pass, "ptb-1280", 58, icmp6(2, 1280, quoteOf(us))},
		{Pass, "ptb-1480", 58, icmp6(2, 1480, quoteOf(us))},
		{PacketTooBig, "ptb-0", 58, icmp6(2, 0, quoteOf(us))},
		{PacketTooBig, "ptb-1279", 58, icmp6(2, 1279, quoteOf(us))},
		{PacketTooBig, "ptb-1481", 58, icmp6(2, 1481, quoteOf(us))},
		{PacketTooBig, "ptb-9000", 58, icmp6(2, 9000, quoteOf(us))},
		{PacketTooBig, "ptb-huge", 58, icmp6(2, 0xffffffff, quoteOf(us))},
		{PacketTooBig, "ptb-0-behind-options", 60, join(pad8(58), icmp6(2, 0, quoteOf(us)))},
		{ForeignQuote, "ptb-for-another", 58, icmp6(2, 1280, quoteOf(ceAddr))},
		{ForeignQuote, "ptb-quote-cut", 58, icmp6(2, 1280, quoteOf(us)[:39])},
		{ForeignQuote, "ptb-quotes-ipv4", 58, icmp6(2, 1280, append([]byte{0x45}, quoteOf(us)[1:]...))},
		{Pass, "unreachable", 58, icmp6(1, 0, quoteOf(us))},
		{Pass, "time-exceeded", 58, icmp6(3, 0, quoteOf(ourSub))},
		{ForeignQuote, "unreachable-for-another", 58, icmp6(1, 0, quoteOf("2606:4700::7"))},
		{ForeignQuote, "parameter-problem-empty", 58, icmp6(4, 0, nil)},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := mustNew(t, configs["A"]) // its MTU is 1480
			p := packet{next: row.next, payload: row.payload}
			if row.payload == nil {
				p.payload = []byte{}
			}
			if got := c.Check(p.bytes()); got != row.want {
				t.Errorf("Check = %v, want %v", got, row.want)
			}
		})
	}
}

// TestRelayForwards are the rows in which a relay, being a router, differs.
func TestRelayForwards(t *testing.T) {
	for _, row := range []struct {
		want    Reason
		name    string
		next    byte
		payload []byte
	}{
		{Pass, "udp-0", 17, udp(0)},
		{Pass, "nested", 41, make([]byte, 40)},
		{Pass, "rh2", 43, join(routing(17, 2, 1), udp(1))},
		{RoutingHeader, "rh0", 43, join(routing(17, 0, 1), udp(1))},
		{NeighborDiscovery, "redirect", 58, icmp6(137, 0, nil)},
		{Pass, "unreachable", 58, icmp6(1, 0, quoteOf("2606:4700::1"))},
		{Pass, "ptb-9000", 58, icmp6(2, 9000, quoteOf("2606:4700::1"))},
		{PacketTooBig, "ptb-0", 58, icmp6(2, 0, quoteOf("2606:4700::1"))},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := packet{outerSrc: ce, outerDst: "198.51.100.1", src: ceAddr, dst: "2606:4700::1", next: row.next, payload: row.payload}
			if got := mustNew(t, relayConfig).Check(p.bytes()); got != row.want {
				t.Errorf("Check = %v, want %v", got, row.want)
			}
		})
	}
}

// TestDecapsulate is figure 4 of RFC 6040, row by row.
func TestDecapsulate(t *testing.T) {
	const not, ect1, ect0, ce, drop = 0, 1, 2, 3, 9
	for _, row := range []struct{ inner, outerNot, outer0, outer1, outerCE byte }{
		{not, not, not, not, drop},
		{ect0, ect0, ect0, ect1, ce},
		{ect1, ect1, ect1, ect1, ce},
		{ce, ce, ce, ce, ce},
	} {
		for outer, want := range map[byte]byte{not: row.outerNot, ect0: row.outer0, ect1: row.outer1, ce: row.outerCE} {
			const dscp, outerDSCP = 46 << 2, 10 << 2
			got, ok := Decapsulate(outerDSCP|outer, dscp|row.inner)
			if ok != (want != drop) || ok && got != dscp|want {
				t.Errorf("inner %02b outer %02b: %#x, %v; want ECN %02b", row.inner, outer, got, ok, want)
			}
			verdict := Pass
			if want == drop {
				verdict = ECN
			}
			p := packet{tos: outerDSCP | outer, tc: dscp | row.inner}
			if got := mustNew(t, configs["A"]).Check(p.bytes()); got != verdict {
				t.Errorf("inner %02b outer %02b: Check = %v, want %v", row.inner, outer, got, verdict)
			}
		}
	}
	if got := Encapsulate(46<<2 | ce); got != 46<<2|ce {
		t.Errorf("Encapsulate = %#x", got)
	}
}
