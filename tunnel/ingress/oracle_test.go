package ingress

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// oracle is Check again, slow and obvious: on netip values, from the RFCs'
// sentences rather than from the table. It says only whether a packet may pass.
func oracle(cfg Config, pkt []byte) bool {
	if len(pkt) < 20 || pkt[0]>>4 != 4 || pkt[9] != 41 {
		return false
	}
	hdr, total := int(pkt[0]&15)*4, int(binary.BigEndian.Uint16(pkt[2:]))
	if hdr < 20 || total < hdr+40 || total > len(pkt) || !oracleSum(pkt[:hdr]) || !oracleOptions(pkt[20:hdr]) {
		return false
	}
	if binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 {
		return false
	}
	in := pkt[hdr:total]
	size := 40 + int(binary.BigEndian.Uint16(in[4:]))
	if in[0]>>4 != 6 || size > len(in) {
		return false
	}
	if pkt[1]&3 == 3 && in[1]>>4&3 == 0 { // congested, and cannot say so
		return false
	}
	src, dst := netip.AddrFrom4([4]byte(pkt[12:16])), netip.AddrFrom4([4]byte(pkt[16:20]))
	inSrc, inDst := netip.AddrFrom16([16]byte(in[8:24])), netip.AddrFrom16([16]byte(in[24:40]))
	return dst == cfg.Local && oracleOuter(cfg, src) && oracleInner(cfg, src, inSrc, inDst) &&
		oraclePayload(cfg, in[:size])
}

func oracleSum(h []byte) bool {
	n := 0
	for i := 0; i < len(h); i += 2 {
		n += int(h[i])*256 + int(h[i+1])
	}
	for n > 0xffff {
		n = n%0x10000 + n/0x10000
	}
	return n == 0xffff
}

func oracleOptions(o []byte) bool {
	for len(o) > 0 && o[0] != 0 {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if o[0] == 0x83 || o[0] == 0x89 || len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return false
		}
		o = o[o[1]:]
	}
	return true
}

// oracleDisguised: 6to4's or ISATAP's address of an IPv4 address.
func oracleDisguised(a, of netip.Addr) bool {
	b := a.As16()
	return b[0] == 0x20 && b[1] == 2 && netip.AddrFrom4([4]byte(b[2:6])) == of ||
		b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe && netip.AddrFrom4([4]byte(b[12:])) == of
}

func oracleMartian4(a netip.Addr) bool {
	return a.As4()[0] == 0 || a.IsLoopback() || a.As4()[0] >= 224
}

func oracleOuter(cfg Config, src netip.Addr) bool {
	if oracleMartian4(src) || src == cfg.Local || slices.Contains(cfg.Broadcasts, src) {
		return false
	}
	return cfg.Kind != Configured || src == cfg.Remote
}

func oracleInner(cfg Config, outer, src, dst netip.Addr) bool {
	isOwn := func(a netip.Addr) bool {
		for _, p := range cfg.Own {
			if p.Contains(a) {
				return true
			}
		}
		if cfg.Kind != Edge {
			return false
		}
		own, err := cfg.Domain.Delegated(cfg.Local)
		return err == nil && own.Contains(a)
	}
	relay := slices.Contains(cfg.Domain.Relays, outer)
	srcV4, srcIn := cfg.Domain.Embedded(src)
	dstV4, dstIn := cfg.Domain.Embedded(dst)
	for _, a := range []netip.Addr{src, dst} {
		if !isOwn(a) && !cfg.Domain.Contains(a) && !oracleGlobal(cfg, a) || oracleBadEmbedding(cfg, a) {
			return false
		}
	}
	if oracleDisguised(dst, cfg.Local) || oracleDisguised(src, cfg.Local) && cfg.Kind != Relay {
		return false
	}
	switch cfg.Kind {
	case Edge:
		return isOwn(dst) && !isOwn(src) && (relay || srcIn && srcV4 == outer)
	case Configured:
		return isOwn(dst) && !isOwn(src)
	}
	own, err := cfg.Domain.Delegated(cfg.Local)
	toUs := err == nil && dst == own.Addr()
	if dstIn && (dstV4 == cfg.Local || slices.Contains(cfg.Domain.Relays, dstV4)) && !toUs {
		return false
	}
	if dstIn && cfg.NoHairpin && dstV4 != outer && !toUs {
		return false
	}
	return srcIn && srcV4 == outer
}

// oracleGlobal: what a packet from the Internet may have as an address.
func oracleGlobal(cfg Config, a netip.Addr) bool {
	if cfg.AllowULA && netip.MustParsePrefix("fc00::/7").Contains(a) { // IsPrivate takes mapped 10/8 too
		return true
	}
	b := a.As16()
	return b[0]>>5 == 1 || netip.MustParsePrefix("64:ff9b::/96").Contains(a)
}

func oracleBadEmbedding(cfg Config, a netip.Addr) bool {
	b := a.As16()
	if v4, ok := cfg.Domain.Embedded(a); ok && (oracleMartian4(v4) || slices.Contains(cfg.Broadcasts, v4)) {
		return true
	}
	bad := func(v4 [4]byte) bool {
		ip := netip.AddrFrom4(v4)
		switch {
		case oracleMartian4(ip), ip.IsPrivate(), ip.IsLinkLocalUnicast(),
			v4[0] == 100 && v4[1]>>6 == 1, v4[0] == 192 && v4[1] == 0 && v4[2] == 0,
			v4[0] == 192 && v4[1] == 88 && v4[2] == 99, v4[0] == 198 && v4[1]>>1 == 9:
			return true
		}
		return false
	}
	six := netip.AddrFrom4([4]byte(b[2:6]))
	return b[0] == 0x20 && b[1] == 2 && (bad(six.As4()) || slices.Contains(cfg.Broadcasts, six)) ||
		netip.MustParsePrefix("64:ff9b::/96").Contains(a) && bad([4]byte(b[12:]))
}

// oraclePayload first lists the headers, then judges the list.
func oraclePayload(cfg Config, in []byte) bool {
	type hdr struct {
		typ  byte
		data []byte
	}
	var chain []hdr
	next, rest, more := in[6], in[40:], false
	for {
		n := map[byte]int{0: -1, 43: -1, 60: -1, 135: -1, 139: -1, 140: -1, 44: 8, 51: -2}[next]
		if n == 0 {
			break
		}
		if len(rest) < 8 {
			return false
		}
		if n == -1 {
			n = 8 + 8*int(rest[1])
		} else if n == -2 {
			n = 8 + 4*int(rest[1])
		}
		if len(rest) < n || len(chain) == 8 {
			return false
		}
		chain = append(chain, hdr{next, rest[:n]})
		later := false
		if next == 44 {
			later = rest[2] != 0 || rest[3]>>3 != 0
			more = more || rest[3]&1 != 0
		}
		next, rest = rest[0], rest[n:]
		if later {
			next = 59
			more = false
			break
		}
	}
	for i, h := range chain {
		switch {
		case h.typ == 0 && i > 0,
			(h.typ == 0 || h.typ == 60) && !oracleTLV(h.data[2:]),
			h.typ == 43 && h.data[3] > 0 && (cfg.Kind != Relay || h.data[2] == 0):
			return false
		}
	}
	if more && (len(rest) < 8 || next == 6 && len(rest) < 20) {
		return false
	}
	switch next {
	case 4, 41:
		return cfg.Kind == Relay
	case 17:
		return len(rest) >= 8 && (cfg.Kind == Relay || rest[6] != 0 || rest[7] != 0)
	case 58:
		return len(rest) >= 8 && oracleICMP(cfg, in, rest, more)
	}
	return true
}

func oracleTLV(o []byte) bool {
	options, padding := 0, 0
	for len(o) > 0 {
		n := 1
		if o[0] > 0 {
			if len(o) < 2 || len(o) < 2+int(o[1]) {
				return false
			}
			n = 2 + int(o[1])
		}
		if o[0] < 2 {
			padding += n
		} else {
			options++
			padding = 0
		}
		if options > 8 || padding > 7 {
			return false
		}
		o = o[n:]
	}
	return true
}

func oracleICMP(cfg Config, in, b []byte, more bool) bool {
	typ, mtu := b[0], int(binary.BigEndian.Uint32(b[4:]))
	if typ == 2 && (mtu < 1280 || cfg.Kind != Relay && mtu > max(cfg.MTU, 1280)) {
		return false
	}
	if typ < 128 && cfg.Kind != Relay {
		if len(b) < 48 || b[8]>>4 != 6 {
			return false
		}
		src := netip.AddrFrom16([16]byte(b[16:32]))
		if cfg.Kind == Edge {
			own, err := cfg.Domain.Delegated(cfg.Local)
			return err == nil && own.Contains(src)
		}
		return slices.ContainsFunc(cfg.Own, func(p netip.Prefix) bool { return p.Contains(src) })
	}
	link := []byte{130, 131, 132, 133, 134, 135, 136, 137, 138, 141, 142, 143, 148, 149, 151, 152, 153}
	if cfg.Kind == Configured && (typ == 135 || typ == 136) && in[7] == 255 && !more {
		return true
	}
	return !slices.Contains(link, typ)
}

// fuzzConfigs are the configurations that the fuzz targets choose from.
func fuzzConfigs() []Config {
	strict := relayConfig
	strict.NoHairpin = true
	ula := configs["A"]
	ula.AllowULA = true
	return []Config{configs["A"], configs["B"], configs["C"], relayConfig, strict, ula}
}

// FuzzCheck builds packets of right form from the fuzzer's choices and compares
// the verdict with the oracle's.
func FuzzCheck(f *testing.F) {
	all := fuzzConfigs()
	add := func(which int, p []byte) {
		in := p[20:]
		f.Add(which, p[12:16], in[8:24], in[24:40], p[1], in[0]<<4|in[1]>>4, in[6], in[7], in[40:], p[6:8])
	}
	for _, row := range vectors(f) {
		for _, p := range row.packets {
			if len(p) >= 60 && p[0] == 0x45 {
				add(int(row.config[0]-'A'), p)
			}
		}
	}
	add(3, packet{outerSrc: ce, src: ceAddr, dst: "2606:4700::1", next: 44, payload: join(fragment(60, 0, true), pad8(17), udp(0))}.bytes())
	add(4, packet{outerSrc: ce, src: ceAddr, dst: ceOther}.bytes())
	f.Fuzz(func(t *testing.T, which int, src, inSrc, inDst []byte, tos, tc, next, hops byte, payload, flags []byte) {
		if len(src) != 4 || len(inSrc) != 16 || len(inDst) != 16 || len(flags) != 2 || len(payload) > 1500 {
			return
		}
		cfg := all[uint(which)%uint(len(all))]
		in := make([]byte, 40, 40+len(payload))
		in[0], in[1], in[6], in[7] = 0x60|tc>>4, tc<<4, next, hops
		binary.BigEndian.PutUint16(in[4:], uint16(len(payload)))
		copy(in[8:], inSrc)
		copy(in[24:], inDst)
		in = append(in, payload...)
		checkOracle(t, cfg, outerPacket([4]byte(src), cfg.Local.As4(), tos, 0, binary.BigEndian.Uint16(flags), nil, in))
	})
}

// FuzzRaw compares on whatever bytes there are.
func FuzzRaw(f *testing.F) {
	all := fuzzConfigs()
	for _, row := range vectors(f) {
		for _, p := range row.packets {
			f.Add(int(row.config[0]-'A'), p)
		}
	}
	f.Fuzz(func(t *testing.T, which int, pkt []byte) {
		checkOracle(t, all[uint(which)%uint(len(all))], pkt)
	})
}

func checkOracle(t *testing.T, cfg Config, pkt []byte) {
	t.Helper()
	c := mustNew(t, cfg)
	before := slices.Clone(pkt)
	got := c.Check(pkt)
	if want := oracle(cfg, pkt); (got == Pass) != want {
		t.Errorf("%v: Check = %v, the oracle says pass = %v\n%x", cfg.Kind, got, want, pkt)
	}
	if got == Unchecked || got >= NumReasons {
		t.Errorf("Check = %v", got)
	}
	if !slices.Equal(before, pkt) {
		t.Error("Check changed the packet")
	}
	if len(pkt) > 20 {
		if to, r := c.Egress(pkt[20:]); (r == Pass) == (to == [4]byte{}) {
			t.Errorf("Egress = %v, %v", to, r)
		}
	}
}

// TestOracleOnVectors keeps the oracle itself honest.
func TestOracleOnVectors(t *testing.T) {
	for _, row := range vectors(t) {
		for _, p := range row.packets {
			checkOracle(t, configs[row.config], p)
		}
	}
}
