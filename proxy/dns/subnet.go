package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Client subnet of EDNS (RFC 7871 §6): OPTION-CODE, OPTION-LENGTH, FAMILY,
// SOURCE PREFIX-LENGTH, SCOPE PREFIX-LENGTH, ADDRESS.
const (
	subnetCode   = 8
	subnetHeader = 8 // all before ADDRESS
	paddingCode  = 12

	// §11.1: no more of an address than this is told.
	subnet4 = 24
	subnet6 = 56
)

// AddSubnet gives query with the network of client in it, in place of what
// the client says of itself; who says that it shall be told to nobody (§7.1.2,
// a prefix of length 0) is obeyed. query is not changed. It comes back as it is
// where it has no EDNS, is signed, or is no DNS query. Where something stands behind
// its OPT record, as no usual client writes it, the claim is taken out, and that is all.
func AddSubnet(query []byte, client netip.Addr) []byte {
	p, ok := dissect(query)
	if !ok || IsAnswer(query) || p.opt == 0 || p.signed || p.several {
		return query
	}
	fixed := p.opt + 1 + fixedLen
	if p.end != len(query) {
		query = slices.Clone(query)
		blankSubnets(query[fixed:p.end])
		return query
	}
	out := make([]byte, fixed, len(query)+subnetHeader+subnet6/8)
	copy(out, query)
	for code, option := range options(query[fixed:p.end]) {
		if code != subnetCode {
			out = append(out, option...)
		} else if len(option) >= subnetHeader && option[6] == 0 {
			return query
		}
	}
	out = appendSubnet(out, client)
	if len(out) > NoLimit {
		return query
	}
	binary.BigEndian.PutUint16(out[fixed-2:], uint16(len(out)-fixed))
	return out
}

func appendSubnet(out []byte, client netip.Addr) []byte {
	family, bits := byte(2), subnet6 // of IANA's address families
	if client.Is4() {
		family, bits = 1, subnet4
	}
	network, err := client.Prefix(bits)
	if err != nil {
		return out
	}
	out = append(out, 0, subnetCode, 0, byte(4+bits/8), 0, family, byte(bits), 0)
	return append(out, network.Addr().AsSlice()[:bits/8]...)
}

// StripSubnet takes the client's network out of an answer, in place: it is of
// us, and not of the client. What is signed stays as it is; the client passes
// over what it has not asked for (§7.3).
func StripSubnet(answer []byte) []byte {
	p, ok := dissect(answer)
	if !ok || !IsAnswer(answer) || p.opt == 0 || p.signed || p.several {
		return answer
	}
	fixed := p.opt + 1 + fixedLen
	if p.end != len(answer) {
		blankSubnets(answer[fixed:p.end])
		return answer
	}
	at := fixed
	for code, option := range options(answer[fixed:p.end]) {
		if code != subnetCode {
			at += copy(answer[at:], option)
		}
	}
	binary.BigEndian.PutUint16(answer[fixed-2:], uint16(at-fixed))
	return answer[:at]
}

// blankSubnets makes padding (RFC 7830) of networks, in place: no name behind that
// points back into the message is moved.
func blankSubnets(rdata []byte) {
	for code, option := range options(rdata) {
		if code == subnetCode {
			option[0], option[1] = 0, paddingCode
			clear(option[4:])
		}
	}
}

// options are those of an OPT record's RDATA (RFC 6891 §6.1.2), each whole. A
// malformed rest counts as one of code 0.
func options(rdata []byte) func(yield func(code uint16, option []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(rdata) > 0 {
			code, size := uint16(0), len(rdata)
			if len(rdata) >= 4 && 4+int(binary.BigEndian.Uint16(rdata[2:])) <= len(rdata) {
				code, size = binary.BigEndian.Uint16(rdata), 4+int(binary.BigEndian.Uint16(rdata[2:]))
			}
			if !yield(code, rdata[:size]) {
				return
			}
			rdata = rdata[size:]
		}
	}
}
