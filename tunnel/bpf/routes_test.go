package bpf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// parseRoutes reads "PREFIX" for a route by the uplink, "!PREFIX" for others.
func parseRoutes(text string) []Route {
	routes := []Route{}
	for _, f := range strings.Fields(text) {
		p, other := strings.CutPrefix(f, "!")
		routes = append(routes, Route{Prefix: netip.MustParsePrefix(p), Uplink: !other})
	}
	return routes
}

func TestCompact(t *testing.T) {
	for _, row := range []struct{ routes, want string }{
		{"", ""},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"0.0.0.0/0 192.0.2.0/24", "0.0.0.0/0"},
		{"!172.17.0.0/16 0.0.0.0/0 192.0.2.0/24", "!172.17.0.0/16 0.0.0.0/0"},
		{"0.0.0.0/0 !10.0.0.0/8 10.1.0.0/16 !10.2.0.0/16", "10.1.0.0/16 !10.0.0.0/8 0.0.0.0/0"},
		{"!0.0.0.0/0 198.51.100.1/32", "198.51.100.1/32"},
		{"0.0.0.0/0 !0.0.0.0/0", "0.0.0.0/0"}, // the second has the worse metric
		{"10.0.0.0/8 0.0.0.0/0 !10.0.0.0/8", "0.0.0.0/0"},
	} {
		got, err := Compact(parseRoutes(row.routes))
		if err != nil || !slices.Equal(got, parseRoutes(row.want)) {
			t.Errorf("Compact(%s) = %v, %v; want %s", row.routes, got, err, row.want)
		}
	}
	many := parseRoutes("0.0.0.0/0")
	for i := range MaxRoutes {
		many = append(many, Route{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", i))})
	}
	const want = "more than 64 IPv4 routes lead by other interfaces than the uplink"
	if _, err := Compact(many); err == nil || err.Error() != want {
		t.Errorf("65 routes: %v, want %s", err, want)
	}
	if _, err := Compact(many[:MaxRoutes]); err != nil {
		t.Errorf("64 routes: %v", err)
	}
}

// TestRoutesRun: the program finds the longest prefix, as a slow search does.
func TestRoutesRun(t *testing.T) {
	requireBPF(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var routes []Route
		for range rnd.IntN(40) {
			a := netip.AddrFrom4([4]byte{byte(rnd.IntN(4)) + 1, byte(rnd.IntN(4)), byte(rnd.IntN(4)), 0})
			p, _ := a.Prefix(rnd.IntN(25))
			routes = append(routes, Route{Prefix: p, Uplink: rnd.IntN(2) == 0})
		}
		compact, err := Compact(routes)
		if err != nil {
			t.Fatal(err)
		}
		if compact == nil {
			compact = []Route{}
		}
		r := startRunRoutes(t, configs()["A"], compact)
		for range 200 {
			dst := netip.AddrFrom4([4]byte{byte(rnd.IntN(4)) + 1, byte(rnd.IntN(4)), byte(rnd.IntN(4)), 9})
			want, bits := int32(tcxNext), -1
			for _, k := range routes {
				if k.Prefix.Contains(dst) && k.Prefix.Bits() > bits {
					want, bits = tcxNext, k.Prefix.Bits()
					if k.Uplink {
						want = tcxRedirect
					}
				}
			}
			b := dst.As4()
			inner := innerPacket("2001:db8:c000:20a::1", fmt.Sprintf("2001:db8:%x:%x::1", int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3])), 0, 60)
			if got := r.checkOut(t, inner); got != want {
				t.Fatalf("%v by %v: returns %d, want %d", dst, routes, got, want)
			}
		}
	}
}
