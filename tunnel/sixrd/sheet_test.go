package sixrd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe(t *testing.T) {
	got, err := Describe(Request{
		Domain: Domain{Prefix: prefix("2001:e41::/32"), Relays: []netip.Addr{addr("61.211.224.125")}},
		IPv4:   addr("203.0.113.5"),
		Host:   "www",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Sheet{
		IPv4:      addr("203.0.113.5"),
		Address:   addr("2001:e41:cb00:7105::1"),
		Delegated: prefix("2001:e41:cb00:7105::/64"),
		AAAA:      "www IN AAAA 2001:e41:cb00:7105::1",
		Arpa:      "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.5.0.1.7.0.0.b.c.1.4.e.0.1.0.0.2.ip6.arpa.",
		Zones:     []string{"5.0.1.7.0.0.b.c.1.4.e.0.1.0.0.2.ip6.arpa."},
		Commands: `ip tunnel add tun6rd mode sit local 203.0.113.5 ttl 64
ip tunnel 6rd dev tun6rd 6rd-prefix 2001:e41::/32
ip link set tun6rd mtu 1280 up
ip -6 address add 2001:e41:cb00:7105::1/32 dev tun6rd
ip -6 route add default via ::61.211.224.125 dev tun6rd
`,
		Interfaces: `auto tun6rd
iface tun6rd inet6 manual
    pre-up ip tunnel add tun6rd mode sit local 203.0.113.5 ttl 64
    pre-up ip tunnel 6rd dev tun6rd 6rd-prefix 2001:e41::/32
    up ip link set tun6rd mtu 1280 up
    up ip -6 address add 2001:e41:cb00:7105::1/32 dev tun6rd
    up ip -6 route add default via ::61.211.224.125 dev tun6rd
    post-down ip tunnel del tun6rd
`,
		Netdev: `[NetDev]
Name=tun6rd
Kind=sit
MTUBytes=1280

[Tunnel]
Independent=yes
Local=203.0.113.5
TTL=64
IPv6RapidDeploymentPrefix=2001:e41::/32
`,
		Network: `[Match]
Name=tun6rd

[Network]
LinkLocalAddressing=no
IPv6AcceptRA=no
Address=2001:e41:cb00:7105::1/32

[Route]
Gateway=::61.211.224.125
`,
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestDescribeSharedBits(t *testing.T) {
	s, err := Describe(Request{
		Domain:    Domain{Prefix: prefix("2001:db8::/32"), IPv4MaskLen: 8, Common: addr("10.0.0.1")},
		IPv4:      addr("10.100.100.1"),
		Interface: "six", MTU: 1480, TTL: 255,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `ip tunnel add six mode sit local 10.100.100.1 ttl 255
ip tunnel 6rd dev six 6rd-prefix 2001:db8::/32 6rd-relay_prefix 10.0.0.0/8
ip link set six mtu 1480 up
ip -6 address add 2001:db8:6464:100::1/32 dev six
`
	if s.Commands != want {
		t.Error(cmp.Diff(want, s.Commands))
	}
	if !strings.HasPrefix(s.Netdev, "# systemd-networkd cannot say IPv4MaskLen 8 here") {
		t.Errorf("Netdev = %q, want a warning first", s.Netdev)
	}
	if s.AAAA != "@ IN AAAA 2001:db8:6464:100::1" {
		t.Errorf("AAAA = %q", s.AAAA)
	}
}

func TestDescribeRefuses(t *testing.T) {
	for _, row := range []struct {
		edit func(*Request)
		want string
	}{
		{func(r *Request) { r.Domain.Prefix = prefix("2001:db8::1/32") }, `sixrd: 6rd prefix "2001:db8::1/32": host bits set; write "2001:db8::/32"`},
		{func(r *Request) { r.IPv4 = addr("127.0.0.1") }, `sixrd: IPv4 address "127.0.0.1" is no host's; write the customer edge's own`},
		{func(r *Request) { r.IPv4 = addr("0.0.0.0") }, `sixrd: IPv4 address "0.0.0.0" is no host's; write the customer edge's own`},
		{func(r *Request) { r.IPv4 = addr("255.255.255.255") }, `sixrd: IPv4 address "255.255.255.255" is no host's; write the customer edge's own`},
		{func(r *Request) { r.IPv4 = addr("::1") }, `sixrd: "::1" is not an IPv4 address; give the customer edge's IPv4 address`},
		{func(r *Request) { r.IPv4 = r.Domain.Relays[0] }, `sixrd: relay "10.0.0.9" is the customer edge's own address; write the provider's border relay`},
		{func(r *Request) { r.MTU = 1279 }, `sixrd: mtu 1279; write 1280 to 65515`},
		{func(r *Request) { r.MTU = 65516 }, `sixrd: mtu 65516; write 1280 to 65515`},
	} {
		r := Request{Domain: Domain{Prefix: prefix("2001:db8::/32"), Relays: []netip.Addr{addr("10.0.0.9")}}, IPv4: addr("10.0.0.1")}
		row.edit(&r)
		_, err := Describe(r)
		checkError(t, err, row.want)
	}
}

func TestZones(t *testing.T) {
	for _, row := range []struct {
		prefix string
		want   string
	}{
		{"2001:db8:6464:100::/56", "1.0.4.6.4.6.8.b.d.0.1.0.0.2.ip6.arpa."},
		{"2a01:79d:469c:1358::/62", "8.5.3.1.c.9.6.4.d.9.7.0.1.0.a.2.ip6.arpa. 9.5.3.1.c.9.6.4.d.9.7.0.1.0.a.2.ip6.arpa. " +
			"a.5.3.1.c.9.6.4.d.9.7.0.1.0.a.2.ip6.arpa. b.5.3.1.c.9.6.4.d.9.7.0.1.0.a.2.ip6.arpa."},
		{"3fff:ffff:e000::/35", "e.f.f.f.f.f.f.f.3.ip6.arpa. f.f.f.f.f.f.f.f.3.ip6.arpa."},
	} {
		if got := strings.Join(zones(prefix(row.prefix)), " "); got != row.want {
			t.Errorf("zones(%s) = %s\nwant %s", row.prefix, got, row.want)
		}
	}
}
