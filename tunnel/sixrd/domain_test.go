package sixrd

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
)

func TestDelegated(t *testing.T) {
	for _, row := range []struct {
		prefix    string
		mask      int
		ipv4      string
		delegated string
		address   string
	}{
		{"2001:e41::/32", 0, "203.0.113.5", "2001:e41:cb00:7105::/64", "2001:e41:cb00:7105::1"},
		{"2a01:79c::/30", 0, "81.167.4.214", "2a01:79d:469c:1358::/62", "2a01:79d:469c:1358::1"},
		{"2a02:58:54::/46", 22, "185.227.123.123", "2a02:58:57:7b00::/56", "2a02:58:57:7b00::1"},
		{"2602::/24", 0, "12.34.56.78", "2602:c:2238:4e00::/56", "2602:c:2238:4e00::1"},
		{"2001:db8::/32", 8, "10.100.100.1", "2001:db8:6464:100::/56", "2001:db8:6464:100::1"}, // RFC 5969 §4
		{"2001:db8::/32", 0, "192.0.2.10", "2001:db8:c000:20a::/64", "2001:db8:c000:20a::1"},
		{"2001:db8::/64", 32, "192.0.2.10", "2001:db8::/64", "2001:db8::1"}, // one edge alone
		{"2001:db8::/48", 16, "192.0.2.10", "2001:db8:0:20a::/64", "2001:db8:0:20a::1"},
		{"2001:db8::/32", 24, "192.0.2.255", "2001:db8:ff00::/40", "2001:db8:ff00::1"},
		{"2000::/3", 0, "255.255.255.255", "3fff:ffff:e000::/35", "3fff:ffff:e000::1"},
		{"2001:db8:0:2::/63", 31, "192.0.2.11", "2001:db8:0:3::/64", "2001:db8:0:3::1"},
		{"fd00::/8", 0, "10.0.0.1", "fd0a:0:100::/40", "fd0a:0:100::1"}, // a laboratory
	} {
		d := Domain{Prefix: prefix(row.prefix), IPv4MaskLen: row.mask, Common: addr(row.ipv4)}
		got, err := d.Delegated(addr(row.ipv4))
		if err != nil || got != prefix(row.delegated) {
			t.Errorf("%s mask %d: Delegated(%s) = %v, %v; want %s", row.prefix, row.mask, row.ipv4, got, err, row.delegated)
		}
		a, err := d.Address(addr(row.ipv4))
		if err != nil || a != addr(row.address) {
			t.Errorf("%s mask %d: Address(%s) = %v, %v; want %s", row.prefix, row.mask, row.ipv4, a, err, row.address)
		}
		v4, ok := d.Embedded(addr(row.address))
		if !ok || v4 != addr(row.ipv4) {
			t.Errorf("%s mask %d: Embedded(%s) = %v, %v; want %s", row.prefix, row.mask, row.address, v4, ok, row.ipv4)
		}
	}
}

func TestErrors(t *testing.T) {
	good := Domain{Prefix: prefix("2001:db8::/32"), IPv4MaskLen: 8, Common: addr("10.0.0.1")}
	with := func(edit func(*Domain)) Domain {
		d := good
		edit(&d)
		return d
	}
	for _, row := range []struct {
		name string
		d    Domain
		want string
	}{
		{"zero", Domain{}, `sixrd: no 6rd prefix; write the provider's, as "2001:db8::/32"`},
		{"ipv4-prefix", with(func(d *Domain) { d.Prefix = prefix("10.0.0.0/8") }), `sixrd: 6rd prefix "10.0.0.0/8" is IPv4; write the provider's IPv6 prefix`},
		{"host-bits", with(func(d *Domain) { d.Prefix = prefix("2001:db8::1/32") }), `sixrd: 6rd prefix "2001:db8::1/32": host bits set; write "2001:db8::/32"`},
		{"everything", with(func(d *Domain) { d.Prefix = prefix("::/0") }), `sixrd: 6rd prefix "::/0" is not global unicast; write the provider's IPv6 prefix`},
		{"multicast", with(func(d *Domain) { d.Prefix = prefix("ff00::/16") }), `sixrd: 6rd prefix "ff00::/16" is not global unicast; write the provider's IPv6 prefix`},
		{"mask-33", with(func(d *Domain) { d.IPv4MaskLen = 33 }), `sixrd: IPv4MaskLen 33; write 0 to 32`},
		{"mask-minus", with(func(d *Domain) { d.IPv4MaskLen = -1 }), `sixrd: IPv4MaskLen -1; write 0 to 32`},
		{"too-long", with(func(d *Domain) { d.Prefix = prefix("2001:db8::/48") }), `sixrd: 6rd prefix "2001:db8::/48" with IPv4MaskLen 8 delegates a /72, longer than /64; IPv4MaskLen must be at least 16`},
		{"beyond-64", with(func(d *Domain) { d.Prefix = prefix("2001:db8::/80") }), `sixrd: 6rd prefix "2001:db8::/80" is longer than /64; write the provider's IPv6 prefix`},
		{"no-common", with(func(d *Domain) { d.Common = netip.Addr{} }), `sixrd: IPv4MaskLen 8 without the shared IPv4 bits; give an IPv4 address of the domain`},
		{"relay-ipv6", with(func(d *Domain) { d.Relays = []netip.Addr{addr("::1")} }), `sixrd: relay "::1" is not an IPv4 address; write the border relay's IPv4 address`},
		{"relay-multicast", with(func(d *Domain) { d.Relays = []netip.Addr{addr("10.0.0.1"), addr("224.0.0.1")} }), `sixrd: relay "224.0.0.1" is not a unicast address; write the border relay's IPv4 address`},
	} {
		t.Run(row.name, func(t *testing.T) {
			checkError(t, row.d.Validate(), row.want)
			_, err := row.d.Delegated(addr("10.0.0.1"))
			checkError(t, err, row.want)
			_, err = row.d.Address(addr("10.0.0.1"))
			checkError(t, err, row.want)
			if v4, ok := row.d.Embedded(addr("2001:db8::1")); ok {
				t.Errorf("Embedded = %v from an invalid domain", v4)
			}
			if row.d.Contains(addr("2001:db8::1")) {
				t.Error("an invalid domain contains an address")
			}
		})
	}
	_, err := good.Delegated(addr("11.0.0.1"))
	checkError(t, err, `sixrd: IPv4 address "11.0.0.1" is outside of the domain's "10.0.0.0/8"; check IPv4MaskLen (8)`)
	_, err = good.Delegated(addr("2001:db8::1"))
	checkError(t, err, `sixrd: "2001:db8::1" is not an IPv4 address; give the customer edge's IPv4 address`)
	_, err = good.Delegated(addr("::ffff:10.0.0.1"))
	checkError(t, err, `sixrd: "::ffff:10.0.0.1" is not an IPv4 address; give the customer edge's IPv4 address`)
}

func TestEmbeddedOutside(t *testing.T) {
	d := Domain{Prefix: prefix("2001:db8::/32")}
	for _, a := range []string{"2001:db9::1", "::ffff:192.0.2.1", "192.0.2.1", "::", "2001:db8::1%eth0"} {
		if v4, ok := d.Embedded(addr(a)); ok {
			t.Errorf("Embedded(%s) = %v, want none", a, v4)
		}
	}
	if _, ok := d.Embedded(netip.Addr{}); ok {
		t.Error("Embedded of no address")
	}
}

// TestOracle compares with the oracle over every prefix length and mask.
func TestOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 4))
	for o := 3; o <= 64; o++ {
		for mask := 0; mask <= 32; mask++ {
			if o+32-mask > 64 {
				continue
			}
			v4 := fromU32(rnd.Uint32())
			ip := v6(1<<61|rnd.Uint64()>>3, rnd.Uint64())
			p, _ := ip.Prefix(o)
			checkAgainstOracle(t, Domain{Prefix: p, IPv4MaskLen: mask, Common: v4}, v4, ip)
		}
	}
}

func FuzzDomain(f *testing.F) {
	f.Add(uint64(0x20010db8_00000000), 32, 8, uint32(0x0a000001), uint32(0x0a646401), uint64(0x20010db8_64640100))
	f.Add(uint64(0x2a01079c_00000000), 30, 0, uint32(0), uint32(0x51a704d6), uint64(0x2a01079d_469c1358))
	f.Fuzz(func(t *testing.T, p uint64, o, mask int, common, edge uint32, other uint64) {
		pre, err := v6(p, 0).Prefix(o)
		if err != nil {
			return
		}
		d := Domain{Prefix: pre, IPv4MaskLen: mask, Common: fromU32(common)}
		if d.Validate() != nil {
			return
		}
		shared := ^(^uint32(0) >> mask)
		v4 := fromU32(common&shared | edge&^shared)
		checkAgainstOracle(t, d, v4, v6(other, 1))
		if edge&shared != common&shared {
			if got, err := d.Delegated(fromU32(edge)); err == nil {
				t.Errorf("%+v: Delegated(%v) = %v, want an error", d, fromU32(edge), got)
			}
		}
	})
}

// checkAgainstOracle checks every method of d, and the round trip.
func checkAgainstOracle(t *testing.T, d Domain, v4, other netip.Addr) {
	t.Helper()
	p, err := d.Delegated(v4)
	if err != nil || p != oracleDelegated(d, v4) {
		t.Fatalf("%+v: Delegated(%v) = %v, %v; oracle: %v", d, v4, p, err, oracleDelegated(d, v4))
	}
	if p.Bits() != d.Length() || p != p.Masked() || !d.Prefix.Contains(p.Addr()) {
		t.Fatalf("%+v: Delegated(%v) = %v: not a /%d within the prefix", d, v4, p, d.Length())
	}
	a, err := d.Address(v4)
	if err != nil || a != oracleAddress(d, v4) || !p.Contains(a) {
		t.Fatalf("%+v: Address(%v) = %v, %v; oracle: %v", d, v4, a, err, oracleAddress(d, v4))
	}
	if got, ok := d.Embedded(a); !ok || got != v4 {
		t.Fatalf("%+v: Embedded(%v) = %v, %v; want %v", d, a, got, ok, v4)
	}
	got, ok := d.Embedded(other)
	want, wantOK := oracleEmbedded(d, other)
	if ok != wantOK || got != want {
		t.Fatalf("%+v: Embedded(%v) = %v, %v; oracle: %v, %v", d, other, got, ok, want, wantOK)
	}
	if ok != d.Contains(other) || ok != d.Prefix.Contains(other) {
		t.Fatalf("%+v: Contains(%v) = %v", d, other, d.Contains(other))
	}
}

func fromU32(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error = %v\n want   %s", err, want)
	}
}
