package icmp

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"genkan/tunnel/ingress"
)

var epoch = time.Unix(1_000_000_000, 0)

// big is a 1400-byte inner packet to the Internet, and how it left.
func big() (inner, outer []byte) {
	inner = ipv6(us, inet, 17, make([]byte, 1360))
	return inner, ipv4(local, relay, 41, 0, inner)
}

func TestTranslate(t *testing.T) {
	inner, outer := big()
	small := ipv4(local, relay, 41, 0, ipv6(us, inet, 17, make([]byte, 1000)))
	toEdge := ipv4(local, "192.0.2.1", 41, 0, ipv6(us, "2001:db8:c000:201::1", 17, make([]byte, 1360)))
	for _, row := range []struct {
		name      string
		want      ingress.Reason
		pkt       []byte
		mtu       int // learnt
		fragment  bool
		typ, code byte // 0: no answer
	}{
		{"frag-needed-1400", ingress.Pass, icmp4(3, 4, 1400, outer[:128]), 1380, false, 2, 0},
		{"frag-needed-to-edge", ingress.Pass, icmp4(3, 4, 1400, toEdge[:128]), 1380, false, 2, 0},
		{"frag-needed-1280", ingress.Pass, icmp4(3, 4, 1280, outer[:128]), 1280, true, 2, 0},
		{"frag-needed-1280-small", ingress.Pass, icmp4(3, 4, 600, small[:128]), 1280, true, 0, 0},
		{"frag-needed-8-bytes", ingress.Pass, icmp4(3, 4, 1400, outer[:28]), 1380, false, 0, 0},
		{"frag-needed-plateau", ingress.Pass, icmp4(3, 4, 0, outer[:128]), 1280, true, 2, 0}, // 1420 → 1006
		{"frag-needed-above-packet", ingress.PacketTooBig, icmp4(3, 4, 1420, outer[:128]), 0, false, 0, 0},
		{"frag-needed-67", ingress.PacketTooBig, icmp4(3, 4, 67, outer[:128]), 0, false, 0, 0},
		{"host-unreachable", ingress.Pass, icmp4(3, 1, 0, outer[:128]), 0, false, 1, 3},
		{"protocol-unreachable", ingress.Pass, icmp4(3, 2, 0, outer[:128]), 0, false, 1, 3},
		{"prohibited", ingress.Pass, icmp4(3, 13, 0, outer[:128]), 0, false, 1, 1},
		{"ttl-exceeded", ingress.Pass, icmp4(11, 0, 0, outer[:128]), 0, false, 3, 0},
		{"header-only", ingress.Pass, icmp4(3, 1, 0, outer[:60]), 0, false, 1, 3},
		{"header-cut", ingress.Pass, icmp4(3, 1, 0, outer[:59]), 0, false, 0, 0},

		{"reassembly-time", ingress.ICMPIgnored, icmp4(11, 1, 0, outer[:128]), 0, false, 0, 0},
		{"code-99", ingress.ICMPIgnored, icmp4(3, 99, 0, outer[:128]), 0, false, 0, 0},
		{"redirect", ingress.ICMPIgnored, icmp4(5, 0, 0, outer[:128]), 0, false, 0, 0},
		{"echo", ingress.ICMPIgnored, icmp4(8, 0, 0, nil), 0, false, 0, 0},
		{"later-fragment", ingress.ICMPIgnored, icmp4(3, 1, 0, edited(outer, 7, 9)[:128]), 0, false, 0, 0},
		{"another-outer-source", ingress.ICMPForeign, icmp4(3, 1, 0, ipv4("192.0.2.77", relay, 41, 0, inner)[:128]), 0, false, 0, 0},
		{"tcp-of-ours", ingress.ICMPForeign, icmp4(3, 1, 0, ipv4(local, relay, 6, 0, inner)[:128]), 0, false, 0, 0},
		{"another-relay", ingress.ICMPForeign, icmp4(3, 1, 0, ipv4(local, "198.51.100.9", 41, 0, inner)[:128]), 0, false, 0, 0},
		{"wrong-edge", ingress.ICMPForeign, icmp4(3, 4, 1400, ipv4(local, "192.0.2.2", 41, 0, toEdge[20:])[:128]), 0, false, 0, 0},
		{"inner-source-not-ours", ingress.ICMPForeign, icmp4(3, 1, 0, ipv4(local, relay, 41, 0, ipv6("2606:4700::7", inet, 17, nil))), 0, false, 0, 0},
		{"inner-multicast", ingress.ICMPForeign, icmp4(3, 1, 0, ipv4(local, relay, 41, 0, ipv6(us, "ff0e::1", 17, nil))), 0, false, 0, 0},
		{"inner-ipv4", ingress.ICMPForeign, icmp4(3, 1, 0, ipv4(local, relay, 41, 0, ipv4(local, relay, 17, 0, make([]byte, 40)))), 0, false, 0, 0},
		{"martian-destination-8-bytes", ingress.ICMPForeign, icmp4(3, 4, 1400, ipv4(local, "127.0.0.1", 41, 1500, make([]byte, 8))), 0, false, 0, 0},

		{"bad-icmp-checksum", ingress.ICMPMalformed, edited(icmp4(3, 1, 0, outer[:128]), 22, 1), 0, false, 0, 0},
		{"bad-ip-checksum", ingress.ICMPMalformed, edited(icmp4(3, 1, 0, outer[:128]), 8, 1), 0, false, 0, 0},
		{"fragmented", ingress.ICMPMalformed, edited(icmp4(3, 1, 0, outer[:128]), 6, 0x20), 0, false, 0, 0},
		{"quote-cut", ingress.ICMPMalformed, icmp4(3, 1, 0, outer[:19]), 0, false, 0, 0},
		{"quote-ihl", ingress.ICMPMalformed, icmp4(3, 1, 0, edited(outer, 0, 0x44)[:60]), 0, false, 0, 0},
		{"quote-total", ingress.ICMPMalformed, icmp4(3, 1, 0, ipv4(local, relay, 41, 10, inner)[:60]), 0, false, 0, 0},
		{"cut", ingress.ICMPMalformed, icmp4(3, 1, 0, outer[:128])[:100], 0, false, 0, 0},
		{"empty", ingress.ICMPMalformed, nil, 0, false, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := Translator{Check: mustCheck(t), Source: addr(us), Limit: NewLimiter()}
			got, r := handle(&tr, row.pkt, epoch)
			if r != row.want || got.MTU != row.mtu || got.Fragment != row.fragment {
				t.Fatalf("%v, mtu %d, fragment %v; want %v, %d, %v", r, got.MTU, got.Fragment, row.want, row.mtu, row.fragment)
			}
			if row.typ == 0 {
				if len(got.Packet) != 0 {
					t.Errorf("answers %x", got.Packet)
				}
				return
			}
			quoted := row.pkt[ipv4Len+icmpLen+ipv4Len:]
			typ, code, param, dst := checkError6(t, got.Packet, quoted)
			if typ != row.typ || code != row.code || dst != addr(us) || typ == 2 && int(param) != row.mtu {
				t.Errorf("type %d code %d param %d to %v", typ, code, param, dst)
			}
		})
	}
}

// handle is what a datapath does with an ICMPv4 packet.
func handle(tr *Translator, pkt []byte, now time.Time) (Answer, ingress.Reason) {
	rep, r := Parse(pkt, addr(local).As4())
	if r != ingress.Pass {
		return Answer{}, r
	}
	return tr.Answer(nil, rep, now)
}

// edited flips bits of one byte of a copy.
func edited(p []byte, at int, flip byte) []byte {
	q := append([]byte(nil), p...)
	q[at] ^= flip
	return q
}

func TestZeroTranslator(t *testing.T) {
	_, outer := big()
	if a, r := handle(new(Translator), icmp4(3, 1, 0, outer), epoch); r != ingress.Unchecked || a.Packet != nil {
		t.Errorf("%v, %x", r, a.Packet)
	}
	tr := Translator{Check: mustCheck(t), Source: addr(us)}
	if a, r := handle(&tr, icmp4(3, 1, 0, outer), epoch); r != ingress.ICMPLimited || a.Packet != nil {
		t.Errorf("without a limiter: %v, %x", r, a.Packet)
	}
}

// TestVectors runs the ICMPv4 rows of the corpus: nothing may come of them.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("../ingress/testdata/tunnel-packets.tsv")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Split(line, "\t")
		if len(f) < 4 || f[1] != "A" || !strings.Contains(f[4], "host-unreachable") && !strings.Contains(f[4], "ICMPv4") {
			continue
		}
		pkt, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		tr := Translator{Check: mustCheck(t), Source: addr(us), Limit: NewLimiter()}
		if a, r := handle(&tr, pkt, epoch); a.Packet != nil || a.MTU != 0 {
			t.Errorf("%s: %v, %+v", f[0], r, a)
		}
		ran++
	}
	if ran < 2 {
		t.Errorf("ran %d rows", ran)
	}
}

func TestLimiter(t *testing.T) {
	l := NewLimiter()
	a, b := addr("2001:db8::1").As16(), addr("2001:db8::2").As16()
	n := 0
	for i := range 100 {
		dst := a
		if i%2 == 1 {
			dst = b // the same /64
		}
		if l.Allow(dst, epoch) {
			n++
		}
	}
	if n != eachBurst {
		t.Errorf("one /64 got %d at once, want %d", n, eachBurst)
	}
	if !l.Allow(a, epoch.Add(time.Second/eachRate)) || l.Allow(a, epoch.Add(time.Second/eachRate)) {
		t.Error("want one more after a tenth of a second")
	}
	all := 0
	for i := range 10000 {
		if l.Allow([16]byte{byte(i >> 8), byte(i)}, epoch.Add(2*time.Second)) {
			all++
		}
	}
	if all != totalBurst {
		t.Errorf("all together got %d at once, want %d", all, totalBurst)
	}
	if l.Allow([16]byte{1}, epoch) {
		t.Error("a clock that goes back gives tokens")
	}
}

func FuzzTranslate(f *testing.F) {
	_, outer := big()
	f.Add(icmp4(3, 4, 1400, outer[:128]))
	f.Add(icmp4(11, 0, 0, outer[:60]))
	f.Add(icmp4(3, 4, 0, outer[:28]))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		for _, p := range [][]byte{pkt, icmp4(3, 4, 1400, pkt), icmp4(3, 1, 0, ipv4(local, relay, 41, 0, pkt))} {
			tr := Translator{Check: mustCheck(t), Source: addr(us), Limit: NewLimiter()}
			a, _ := handle(&tr, p, epoch)
			if a.MTU != 0 && (a.MTU < 1280 || a.MTU > 65515) {
				t.Errorf("mtu %d", a.MTU)
			}
			if a.Packet == nil {
				continue
			}
			_, _, _, dst := checkError6(t, a.Packet, a.Packet[ipv6Len+icmpLen:])
			if own, err := dst.Prefix(64); err != nil || own.Addr() != addr("2001:db8:c000:20a::") {
				t.Errorf("answers %v, who is not ours", dst)
			}
		}
	})
}
