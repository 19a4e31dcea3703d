package tunnel

import (
	"net"
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
