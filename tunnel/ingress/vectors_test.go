package ingress

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"genkan/tunnel/sixrd"
)

// configs are the receiving sides of testdata/tunnel-packets.tsv.
var configs = map[string]Config{
	"A": {
		Kind:       Edge,
		Local:      netip.MustParseAddr("192.0.2.10"),
		Broadcasts: []netip.Addr{netip.MustParseAddr("192.0.2.255")},
		Domain: sixrd.Domain{
			Prefix: netip.MustParsePrefix("2001:db8::/32"),
			Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1")},
		},
		MTU: 1480,
	},
	"B": {
		Kind:  Edge,
		Local: netip.MustParseAddr("10.100.100.1"),
		Domain: sixrd.Domain{
			Prefix:      netip.MustParsePrefix("2001:db8::/32"),
			IPv4MaskLen: 8,
			Common:      netip.MustParseAddr("10.0.0.0"),
			Relays:      []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		},
	},
	"C": {
		Kind:   Configured,
		Local:  netip.MustParseAddr("192.0.2.10"),
		Remote: netip.MustParseAddr("198.51.100.1"),
		Own:    []netip.Prefix{netip.MustParsePrefix("2001:db8:100::2/128")},
	},
}

// TestVectors runs the corpus of outer packets. Rows whose verdict needs the
// IPv6 stack or another part of the tunnel are named with the reason why.
func TestVectors(t *testing.T) {
	elsewhere := map[string]Reason{
		"tun-106": Pass,      // overlapping inner fragments: the stack's (RFC 5722), see doc.go
		"tun-134": NotTunnel, // ICMPv4 about the tunnel: package icmp
		"tun-135": NotTunnel,
	}
	for _, row := range vectors(t) {
		t.Run(row.id, func(t *testing.T) {
			c := mustNew(t, configs[row.config])
			got := Unchecked
			var frags Reassembler
			for _, pkt := range row.packets {
				if got = c.Check(pkt); got != Fragment {
					continue
				}
				if pkt, got = frags.Add(pkt, time.Time{}); got == Pass {
					got = c.Check(pkt)
				}
			}
			if want, ok := elsewhere[row.id]; ok {
				if got != want {
					t.Errorf("Check = %v, want %v", got, want)
				}
				return
			}
			if (got == Pass) != (row.verdict == "deliver") {
				t.Errorf("Check = %v, want %s (%s)", got, row.verdict, row.reason)
			}
			t.Log(got, "-", row.reason)
		})
	}
}

type vector struct {
	id, config, verdict, reason string
	packets                     [][]byte
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/tunnel-packets.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []vector
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		f := strings.Split(line, "\t")
		v := vector{id: f[0], config: f[1], verdict: f[3], reason: f[4]}
		for _, h := range strings.Split(f[2], ",") {
			b, err := hex.DecodeString(h)
			if err != nil {
				t.Fatalf("%s: %v", v.id, err)
			}
			v.packets = append(v.packets, b)
		}
		rows = append(rows, v)
	}
	return rows
}

func mustNew(t testing.TB, cfg Config) *Checker {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
