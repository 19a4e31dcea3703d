package sixrd

import (
	"fmt"
	"net/netip"
	"strings"
)

// The oracle: RFC 5969 §4 with strings of '0' and '1', slow and obvious.

func bitString(ip netip.Addr) string {
	var b strings.Builder
	for _, x := range ip.AsSlice() {
		fmt.Fprintf(&b, "%08b", x)
	}
	return b.String()
}

func fromBits(s string) netip.Addr {
	b := make([]byte, len(s)/8)
	for i, c := range s {
		b[i/8] = b[i/8]<<1 | byte(c-'0')
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip
}

func padded(s string) string { return s + strings.Repeat("0", 128-len(s)) }

func oracleDelegated(d Domain, v4 netip.Addr) netip.Prefix {
	s := bitString(d.Prefix.Addr())[:d.Prefix.Bits()] + bitString(v4)[d.IPv4MaskLen:]
	return netip.PrefixFrom(fromBits(padded(s)), len(s))
}

func oracleAddress(d Domain, v4 netip.Addr) netip.Addr {
	s := padded(bitString(d.Prefix.Addr())[:d.Prefix.Bits()] + bitString(v4)[d.IPv4MaskLen:])
	return fromBits(s[:127] + "1")
}

func oracleEmbedded(d Domain, ip netip.Addr) (netip.Addr, bool) {
	s, prefix := bitString(ip), bitString(d.Prefix.Addr())[:d.Prefix.Bits()]
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return netip.Addr{}, false
	}
	common := strings.Repeat("0", d.IPv4MaskLen)
	if d.IPv4MaskLen > 0 {
		common = bitString(d.Common)[:d.IPv4MaskLen]
	}
	return fromBits(common + rest[:32-d.IPv4MaskLen]), true
}
