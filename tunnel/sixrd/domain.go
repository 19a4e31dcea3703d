package sixrd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Domain is what every customer edge and border relay of one 6rd domain
// shares (RFC 5969 §4, §7). The zero Domain is invalid: it contains nothing
// and delegates nothing.
type Domain struct {
	// Prefix is the 6rd prefix of the provider, any length that leaves room
	// for the IPv4 bits within the first 64; it need not end on a nibble.
	Prefix netip.Prefix

	// IPv4MaskLen is how many leading IPv4 bits all edges share and which are
	// therefore left out of the IPv6 prefix, 0 to 32 (RFC 5969 §7.1.1).
	IPv4MaskLen int

	// Common is any IPv4 address in the domain; its first IPv4MaskLen bits are
	// the shared ones. It may be zero only where IPv4MaskLen is 0.
	Common netip.Addr

	// Relays are the IPv4 addresses of the border relays. The arithmetic does
	// not need them, and they may lie outside of the shared IPv4 prefix.
	Relays []netip.Addr
}

// Validate returns the first thing that is wrong with the domain, or nil.
func (d Domain) Validate() error {
	_, err := d.Bits()
	return err
}

// Length returns the length in bits of every delegated prefix of the domain.
func (d Domain) Length() int { return d.Prefix.Bits() + 32 - d.IPv4MaskLen }

// Delegated returns the IPv6 prefix of the customer edge whose IPv4 address is
// v4 (RFC 5969 §4), Length bits long.
func (d Domain) Delegated(v4 netip.Addr) (netip.Prefix, error) {
	b, err := d.Bits()
	if err != nil {
		return netip.Prefix{}, err
	}
	if !v4.Is4() {
		return netip.Prefix{}, fmt.Errorf("sixrd: %q is not an IPv4 address; give the customer edge's IPv4 address", v4)
	}
	n := v4Bits(v4)
	if (n^b.Common)&b.commonMask() != 0 {
		return netip.Prefix{}, fmt.Errorf("sixrd: IPv4 address %q is outside of the domain's %q; check IPv4MaskLen (%d)",
			v4, d.common(), d.IPv4MaskLen)
	}
	return netip.PrefixFrom(v6(b.Delegated(n), 0), d.Length()), nil
}

// Address returns the address that an edge takes for itself: interface
// identifier 1 in the first /64 of its delegated prefix.
func (d Domain) Address(v4 netip.Addr) (netip.Addr, error) {
	p, err := d.Delegated(v4)
	if err != nil {
		return netip.Addr{}, err
	}
	return v6(hi(p.Addr()), 1), nil
}

// Embedded returns the IPv4 address of the edge that owns ip. It reports false
// for an address outside of the 6rd prefix, for an IPv4-mapped or zoned
// address, and for an invalid domain.
func (d Domain) Embedded(ip netip.Addr) (netip.Addr, bool) {
	b, err := d.Bits()
	if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" {
		return netip.Addr{}, false
	}
	n, ok := b.Embedded(hi(ip))
	if !ok {
		return netip.Addr{}, false
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a), true
}

// Contains reports whether ip lies in the 6rd prefix of a valid domain.
func (d Domain) Contains(ip netip.Addr) bool {
	_, ok := d.Embedded(ip)
	return ok
}

// common is the shared IPv4 prefix.
func (d Domain) common() netip.Prefix {
	if !d.Common.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	p, err := d.Common.Prefix(d.IPv4MaskLen)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func hi(ip netip.Addr) uint64 {
	a := ip.As16()
	return binary.BigEndian.Uint64(a[:8])
}

func v6(hi, lo uint64) netip.Addr {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], hi)
	binary.BigEndian.PutUint64(a[8:], lo)
	return netip.AddrFrom16(a)
}

func v4Bits(ip netip.Addr) uint32 {
	a := ip.As4()
	return binary.BigEndian.Uint32(a[:])
}
