package dhcp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Parameters are what option 212 says. The zero Parameters are none.
type Parameters struct {
	Prefix      netip.Prefix // of the provider, masked
	IPv4MaskLen int          // 0 to 32
	Relays      []netip.Addr // at least one; each once
	From        string       // who says so: a file, or a server
}

// Same reports whether q is the same domain by the same relays.
func (p Parameters) Same(q Parameters) bool {
	return p.Prefix == q.Prefix && p.IPv4MaskLen == q.IPv4MaskLen && slices.Equal(p.Relays, q.Relays)
}

// String is the domain as one writes it in [tunnel].
func (p Parameters) String() string {
	return fmt.Sprintf("prefix %s, ipv4_mask_len %d, relays %s", p.Prefix, p.IPv4MaskLen, p.Relays)
}

const (
	optionCode = 212
	fixedPart  = 18 // two lengths and the prefix
	maxRelays  = 64
)

// Parse reads the content of option 212, after its code and length. Of an
// option that is wrong anywhere nothing is used.
func Parse(b []byte) (Parameters, error) {
	if len(b) < fixedPart+4 || (len(b)-fixedPart)%4 != 0 {
		return Parameters{}, fmt.Errorf("option 212 of %d octets: want %d, and 4 for each relay, of which there is at least one", len(b), fixedPart)
	}
	mask, bits := int(b[0]), int(b[1])
	switch {
	case mask > 32:
		return Parameters{}, fmt.Errorf("option 212: IPv4MaskLen %d, more than 32", mask)
	case bits == 0 || bits+32-mask > 128: // RFC 5969 §7.1.1, bounds checking
		return Parameters{}, fmt.Errorf("option 212: 6rdPrefixLen %d with IPv4MaskLen %d: no room for an IPv4 address in 128 bits", bits, mask)
	}
	// The bits behind the prefix are ignored by the receiver.
	prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[2:fixedPart])), bits).Masked()
	if a := prefix.Addr(); !a.IsGlobalUnicast() || a.Is4In6() {
		return Parameters{}, fmt.Errorf("option 212: the prefix %s is no unicast prefix", prefix)
	}
	p := Parameters{Prefix: prefix, IPv4MaskLen: mask}
	for b = b[fixedPart:]; len(b) > 0; b = b[4:] {
		relay := netip.AddrFrom4([4]byte(b))
		if !unicast4(relay) {
			return Parameters{}, fmt.Errorf("option 212: the relay %s is no unicast address", relay)
		}
		if !slices.Contains(p.Relays, relay) {
			p.Relays = append(p.Relays, relay)
		}
	}
	if len(p.Relays) > maxRelays {
		return Parameters{}, fmt.Errorf("option 212: %d relays, more than %d", len(p.Relays), maxRelays)
	}
	return p, nil
}

// Bytes is the content of option 212 that says p.
func (p Parameters) Bytes() []byte {
	a := p.Prefix.Addr().As16()
	b := append([]byte{byte(p.IPv4MaskLen), byte(p.Prefix.Bits())}, a[:]...)
	for _, r := range p.Relays {
		b = binary.BigEndian.AppendUint32(b, binary.BigEndian.Uint32(r.AsSlice()))
	}
	return b
}

func unicast4(a netip.Addr) bool {
	return a.Is4() && !a.IsLoopback() && a.As4()[0] != 0 && a.As4()[0] < 224
}

// parseText reads the option as dhclient writes it: by its fields,
// "0 32 2001:e41:: 198.51.100.1,198.51.100.2", or by its octets, "0:20:20:1:e:41:…".
func parseText(s string) (Parameters, error) {
	words := strings.Fields(strings.ReplaceAll(s, ",", " "))
	if len(words) == 1 {
		b, err := octets(words[0])
		if err != nil {
			return Parameters{}, err
		}
		return Parse(b)
	}
	wrong := fmt.Errorf("option 212: %q is not IPv4MaskLen, 6rdPrefixLen, prefix and relays", clip(s))
	if len(words) < 4 || len(words) > 3+maxRelays {
		return Parameters{}, wrong
	}
	var b []byte
	for _, w := range words[:2] {
		n, err := strconv.ParseUint(w, 10, 8)
		if err != nil {
			return Parameters{}, wrong
		}
		b = append(b, byte(n))
	}
	prefix, err := netip.ParseAddr(words[2])
	if err != nil || !prefix.Is6() || prefix.Zone() != "" {
		return Parameters{}, wrong
	}
	b = append(b, prefix.AsSlice()...)
	for _, w := range words[3:] {
		relay, err := netip.ParseAddr(w)
		if err != nil || !relay.Is4() {
			return Parameters{}, wrong
		}
		b = append(b, relay.AsSlice()...)
	}
	return Parse(b)
}

// octets reads "0:20:e" and "00200e".
func octets(s string) ([]byte, error) {
	if !strings.Contains(s, ":") {
		b, err := hex.DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("option 212: %q is not hexadecimal", clip(s))
		}
		return b, nil
	}
	var b []byte
	for word := range strings.SplitSeq(s, ":") {
		n, err := strconv.ParseUint(word, 16, 8)
		if err != nil || len(word) > 2 {
			return nil, fmt.Errorf("option 212: %q is not octets in hexadecimal", clip(s))
		}
		b = append(b, byte(n))
	}
	return b, nil
}

func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
