package proxyproto

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"genkan/acl"
)

// Append appends a header of version 1 or 2 to dst: that source connected to
// dest, both canonical. Where they are of different families, dest is written
// as the unspecified address of source's, with its port: mixed addresses are
// no header (nginx#1609), and a mapped one never leaves the program.
//
// Version 1 has no TLVs; giving it some is an error, as is an invalid source.
func Append(dst []byte, version int, source, dest netip.AddrPort, tlvs ...TLV) ([]byte, error) {
	src := acl.AddrFrom(source.Addr())
	to := acl.AddrFrom(dest.Addr())
	if !src.IsValid() {
		return nil, fmt.Errorf("proxyproto: no source address to announce")
	}
	if to.Is4() != src.Is4() || !to.IsValid() {
		to = acl.AddrFrom(netip.IPv6Unspecified())
		if src.Is4() {
			to = acl.AddrFrom(netip.IPv4Unspecified())
		}
	}
	switch {
	case version == 1 && len(tlvs) > 0:
		return nil, fmt.Errorf("proxyproto: version 1 has no TLVs")
	case version == 1:
		family := "TCP6"
		if src.Is4() {
			family = "TCP4"
		}
		return fmt.Appendf(dst, "PROXY %s %s %s %d %d\r\n", family, src, to, source.Port(), dest.Port()), nil
	case version == 2:
		return appendV2(dst, netip.AddrPortFrom(src.Netip(), source.Port()), netip.AddrPortFrom(to.Netip(), dest.Port()), tlvs)
	}
	return nil, fmt.Errorf("proxyproto: no version %d", version)
}

func appendV2(dst []byte, source, dest netip.AddrPort, tlvs []TLV) ([]byte, error) {
	n := 12
	family := byte(0x11) // AF_INET, STREAM
	if source.Addr().Is6() {
		n, family = 36, 0x21
	}
	for _, t := range tlvs {
		n += 3 + len(t.Value)
	}
	if n > maxV2 {
		return nil, fmt.Errorf("proxyproto: a header of %d bytes; at most %d are sent", n, maxV2)
	}
	dst = append(dst, signature...)
	dst = append(dst, 0x21, family) // version 2, PROXY
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = append(dst, source.Addr().AsSlice()...)
	dst = append(dst, dest.Addr().AsSlice()...)
	dst = binary.BigEndian.AppendUint16(dst, source.Port())
	dst = binary.BigEndian.AppendUint16(dst, dest.Port())
	for _, t := range tlvs {
		dst = append(dst, t.Type)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Value)))
		dst = append(dst, t.Value...)
	}
	return dst, nil
}
