package ingress

import (
	"encoding/binary"
	"net/netip"

	"genkan/tunnel/sixrd"
)

const (
	minMTU = 1280  // RFC 8200 §5
	maxMTU = 65515 // an IPv4 packet less its header

	outerMin = 20
	innerLen = 40
	proto41  = 41
)

// A Checker judges the packets of one tunnel. It is immutable, safe for
// concurrent use and does not allocate. The nil and the zero Checker pass
// nothing.
type Checker struct {
	kind    Kind
	local   uint32
	gateway uint32 // Edge: the relay; Configured: the remote
	bits    sixrd.Bits
	hairpin bool
	mtu     uint32
	rules   []Rule // in order; Outer fields first
	inner   int    // index of the first rule on an inner field
	own     []Pattern
	silent  []Pattern
	bcasts  []uint32
}

// New returns the Checker for a configuration, or what is wrong with it.
func New(cfg Config) (*Checker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Checker{
		kind:    cfg.Kind,
		local:   addr4(cfg.Local),
		hairpin: !cfg.NoHairpin,
		mtu:     uint32(max(cfg.MTU, minMTU)),
	}
	for _, b := range cfg.Broadcasts {
		c.bcasts = append(c.bcasts, addr4(b))
	}
	switch cfg.Kind {
	case Edge:
		c.gateway = addr4(cfg.Domain.Relays[0])
		if cfg.Gateway.IsValid() {
			c.gateway = addr4(cfg.Gateway)
		}
	case Configured:
		c.gateway = addr4(cfg.Remote)
	}
	if cfg.Kind != Configured {
		var err error
		if c.bits, err = cfg.Domain.Bits(); err != nil {
			return nil, err
		}
	}
	c.own = ownPatterns(cfg)
	c.silent = silent
	if cfg.Kind == Relay { // RFC 6324 §3.1: anybody's packets pass a relay, and such would come round again
		c.silent = append(disguises(cfg.Local), silent...)
	}
	c.rules, c.inner = buildRules(cfg, c.own)
	return c, nil
}

// Check judges an outer IPv4 packet as received, without link header; bytes
// after its total length are ignored. Checksums inside may still be partial, as
// virtio and veth deliver them; the outer header's is checked.
func (c *Checker) Check(pkt []byte) Reason {
	if c == nil || c.kind == 0 {
		return Unchecked
	}
	hdr, total, r := outer(pkt)
	if r != Pass {
		return r
	}
	src := binary.BigEndian.Uint32(pkt[12:])
	dst := binary.BigEndian.Uint32(pkt[16:])
	if r := c.match(c.rules[:c.inner], src, dst, nil); r != Pass {
		return r
	}
	if binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 { // MF or an offset
		return Fragment
	}
	in := pkt[hdr:total]
	if len(in) < innerLen {
		return Tiny
	}
	if in[0]>>4 != 6 {
		return BadVersion
	}
	n := innerLen + int(binary.BigEndian.Uint16(in[4:]))
	if n > len(in) {
		return BadLength
	}
	if r := c.match(c.rules[c.inner:], src, dst, in); r != Pass {
		return r
	}
	if r := c.payload(in[:n]); r != Pass {
		return r
	}
	if _, ok := Decapsulate(pkt[1], trafficClass(in)); !ok {
		return ECN
	}
	return Pass
}

// outer validates the IPv4 header and returns its length and the packet's.
func outer(pkt []byte) (hdr, total int, r Reason) {
	if len(pkt) < outerMin {
		return 0, 0, Tiny
	}
	if pkt[0]>>4 != 4 || pkt[9] != proto41 {
		return 0, 0, NotTunnel
	}
	hdr = int(pkt[0]&15) * 4
	total = int(binary.BigEndian.Uint16(pkt[2:]))
	switch {
	case hdr < outerMin || total < hdr:
		return 0, 0, OuterMalformed
	case total > len(pkt):
		return 0, 0, OuterLength
	case sum16(pkt[:hdr]) != 0xffff:
		return 0, 0, OuterMalformed
	}
	return hdr, total, options4(pkt[outerMin:hdr])
}

// options4 walks IPv4 options: none may be malformed or route the packet.
func options4(o []byte) Reason {
	for len(o) > 0 {
		switch o[0] {
		case 0: // end of options
			return Pass
		case 1: // no operation
			o = o[1:]
			continue
		case 0x83, 0x89: // loose and strict source and record route
			return SourceRoute
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return OuterMalformed
		}
		o = o[o[1]:]
	}
	return Pass
}

// sum16 is the one's complement sum of RFC 1071 over an even number of bytes.
func sum16(b []byte) uint16 {
	var s uint32
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s)
}

func trafficClass(in []byte) byte { return in[0]<<4 | in[1]>>4 }

func addr4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
