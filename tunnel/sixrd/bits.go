package sixrd

import (
	"errors"
	"fmt"
	"net/netip"
)

// Bits is a validated Domain as plain numbers, for code that handles packets:
// a delegated prefix never exceeds 64 bits, so the upper half of an IPv6
// address says everything. The zero Bits embeds nothing but 0.0.0.0/32 in ::/0
// and must not be used; get one by Domain.Bits.
type Bits struct {
	Prefix uint64 // the upper 64 bits of the 6rd prefix
	Len    uint   // its length, 0 to 64
	Shared uint   // IPv4MaskLen, 0 to 32
	Common uint32 // the shared IPv4 bits, the others zero
}

// Bits validates the domain and returns it as numbers.
func (d Domain) Bits() (Bits, error) {
	p := d.Prefix
	switch {
	case !p.IsValid():
		return Bits{}, errors.New(`sixrd: no 6rd prefix; write the provider's, as "2001:db8::/32"`)
	case p.Addr().Is4() || p.Addr().Is4In6():
		return Bits{}, fmt.Errorf("sixrd: 6rd prefix %q is IPv4; write the provider's IPv6 prefix", p)
	case p != p.Masked():
		return Bits{}, fmt.Errorf("sixrd: 6rd prefix %q: host bits set; write %q", p, p.Masked())
	case !p.Addr().IsGlobalUnicast():
		return Bits{}, fmt.Errorf("sixrd: 6rd prefix %q is not global unicast; write the provider's IPv6 prefix", p)
	case d.IPv4MaskLen < 0 || d.IPv4MaskLen > 32:
		return Bits{}, fmt.Errorf("sixrd: IPv4MaskLen %d; write 0 to 32", d.IPv4MaskLen)
	case p.Bits() > 64:
		return Bits{}, fmt.Errorf("sixrd: 6rd prefix %q is longer than /64; write the provider's IPv6 prefix", p)
	case d.Length() > 64:
		return Bits{}, fmt.Errorf("sixrd: 6rd prefix %q with IPv4MaskLen %d delegates a /%d, longer than /64; IPv4MaskLen must be at least %d",
			p, d.IPv4MaskLen, d.Length(), p.Bits()-32)
	case d.IPv4MaskLen > 0 && !d.Common.Is4():
		return Bits{}, fmt.Errorf("sixrd: IPv4MaskLen %d without the shared IPv4 bits; give an IPv4 address of the domain", d.IPv4MaskLen)
	}
	for _, r := range d.Relays {
		if err := validRelay(r); err != nil {
			return Bits{}, err
		}
	}
	b := Bits{Prefix: hi(p.Addr()), Len: uint(p.Bits()), Shared: uint(d.IPv4MaskLen)}
	if b.Shared > 0 {
		b.Common = v4Bits(d.Common) & b.commonMask()
	}
	return b, nil
}

func validRelay(r netip.Addr) error {
	switch {
	case !r.Is4():
		return fmt.Errorf("sixrd: relay %q is not an IPv4 address; write the border relay's IPv4 address", r)
	case !unicast(r):
		return fmt.Errorf("sixrd: relay %q is not a unicast address; write the border relay's IPv4 address", r)
	}
	return nil
}

// unicast reports whether a host can have the IPv4 address (RFC 1122 §3.2.1.3).
func unicast(a netip.Addr) bool {
	return a.As4()[0] != 0 && !a.IsLoopback() && a.As4()[0] < 224
}

// Delegated returns the upper 64 bits of the delegated prefix of v4. The
// shared bits of v4 are not looked at.
func (b Bits) Delegated(v4 uint32) uint64 {
	return b.Prefix | uint64(v4<<b.Shared)<<32>>b.Len
}

// Contains reports whether an address with the upper half hi lies in the 6rd
// prefix.
func (b Bits) Contains(hi uint64) bool {
	return (hi^b.Prefix)&^(^uint64(0)>>b.Len) == 0
}

// Embedded returns the IPv4 address inside an IPv6 address whose upper half is
// hi, and whether that lies in the 6rd prefix.
func (b Bits) Embedded(hi uint64) (uint32, bool) {
	return b.Common | uint32(hi<<b.Len>>32)>>b.Shared, b.Contains(hi)
}

func (b Bits) commonMask() uint32 { return ^(^uint32(0) >> b.Shared) }
