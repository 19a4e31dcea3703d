package tunnel

import (
	"net"
	"net/netip"
	"testing"
)

func TestLastOf(t *testing.T) {
	for _, row := range []struct{ network, want string }{
		{"192.0.2.10/24", "192.0.2.255"},
		{"10.100.100.1/8", "10.255.255.255"},
		{"203.0.113.5/30", "203.0.113.7"},
		{"203.0.113.5/31", ""}, // RFC 3021
		{"203.0.113.5/32", ""},
		{"2001:db8::1/64", ""},
	} {
		ip, n, err := net.ParseCIDR(row.network)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		got, ok := lastOf(n)
		if ok != (row.want != "") || ok && got.String() != row.want {
			t.Errorf("lastOf(%s) = %v, %v; want %q", row.network, got, ok, row.want)
		}
	}
}

func TestUsable(t *testing.T) {
	local, relay := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("198.51.100.1")
	for _, row := range []struct {
		want   string
		prefix string
		relays []netip.Addr
	}{
		{"", "2001:e41::/32", []netip.Addr{relay}},
		{"the relay 203.0.113.5 is our own address; ask the provider for his border relay", "2001:e41::/32", []netip.Addr{relay, local}},
		{`sixrd: 6rd prefix "2001:e41::/33" with IPv4MaskLen 0 delegates a /65, longer than /64; IPv4MaskLen must be at least 1`, "2001:e41::/33", []netip.Addr{relay}},
	} {
		got := ""
		if err := (Config{Prefix: netip.MustParsePrefix(row.prefix), Relays: row.relays}).usable(local); err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%s by %s: %q, want %q", row.prefix, row.relays, got, row.want)
		}
	}
}
