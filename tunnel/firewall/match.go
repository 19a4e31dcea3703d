package firewall

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// An answer is whether a match holds.
type answer int

const (
	no answer = iota
	yes
	unknown // it cannot be read
)

func holds(b bool) answer {
	if b {
		return yes
	}
	return no
}

// registers is the size of nftables' registers in bytes: 16 of 4 bytes, the
// first four of which the old numbers 1 to 4 name by 16 bytes each.
const registers = 64

// A matcher is a packet and the registers of the rule that looks at it.
type matcher struct {
	Packet
	ip, l4 []byte
	reg    [registers]byte
	known  [registers]bool
}

func newMatcher(p Packet) *matcher { return &matcher{Packet: p, ip: p.network(), l4: p.transport()} }

// forget empties the registers for the next rule.
func (m *matcher) forget() { m.known = [registers]bool{} }

// slot is where a register lies.
func slot(reg uint32) int {
	switch {
	case reg >= unix.NFT_REG_1 && reg <= unix.NFT_REG_4:
		return int(reg-unix.NFT_REG_1) * 16
	case reg >= unix.NFT_REG32_00 && reg <= unix.NFT_REG32_15:
		return int(reg-unix.NFT_REG32_00) * 4
	}
	return registers
}

// put writes into a register, padded to 4 bytes as the kernel does.
func (m *matcher) put(reg uint32, b []byte) answer {
	at := slot(reg)
	size := (len(b) + 3) &^ 3
	if at+size > registers {
		return unknown
	}
	clear(m.reg[at : at+size])
	copy(m.reg[at:], b)
	for i := at; i < at+size; i++ {
		m.known[i] = true
	}
	return yes
}

// lose marks a register as unknown: what follows from it cannot be told.
func (m *matcher) lose(reg uint32, size int) answer {
	for i := slot(reg); i < min(slot(reg)+size, registers); i++ {
		m.known[i] = false
	}
	return yes
}

// get reads a register; nil where its content is not known.
func (m *matcher) get(reg uint32, size int) []byte {
	at := slot(reg)
	if at+size > registers || slices.Contains(m.known[at:at+size], false) {
		return nil
	}
	return m.reg[at : at+size]
}

// holds carries one expression out. A map may give a verdict, too.
func (m *matcher) holds(e expr.Any, sets map[string]set) (answer, *expr.Verdict) {
	switch e := e.(type) {
	case *expr.Meta:
		return m.meta(e), nil
	case *expr.Payload:
		return m.payload(e), nil
	case *expr.Ct:
		if e.SourceRegister {
			return yes, nil // sets a mark
		}
		if e.Key != expr.CtKeySTATE {
			return m.lose(e.Register, 16), nil
		}
		return m.put(e.Register, binaryutil.NativeEndian.PutUint32(m.State.bits())), nil
	case *expr.Immediate:
		return m.put(e.Register, e.Data), nil
	case *expr.Bitwise:
		return m.bitwise(e), nil
	case *expr.Cmp:
		return m.compare(e), nil
	case *expr.Range:
		have := m.get(e.Register, len(e.FromData))
		if have == nil || len(e.FromData) != len(e.ToData) {
			return unknown, nil
		}
		in := bytes.Compare(have, e.FromData) >= 0 && bytes.Compare(have, e.ToData) <= 0
		return holds(in == (e.Op == expr.CmpOpEq)), nil
	case *expr.Lookup:
		return m.lookup(e, sets)
	case *expr.Limit:
		return holds(!e.Over), nil // one packet is under every limit
	case *expr.Match:
		return m.extension(e), nil
	case *expr.Counter, *expr.Log, *expr.Quota, *expr.Notrack, *expr.Objref, *expr.Dynset:
		return yes, nil
	}
	return unknown, nil
}

// meta loads what the kernel knows of the packet besides its bytes.
func (m *matcher) meta(e *expr.Meta) answer {
	if e.SourceRegister {
		return yes // sets something
	}
	family, ethertype := byte(unix.NFPROTO_IPV6), uint16(unix.ETH_P_IPV6)
	if m.Src.Is4() {
		family, ethertype = unix.NFPROTO_IPV4, unix.ETH_P_IP
	}
	switch e.Key {
	case expr.MetaKeyL4PROTO:
		return m.put(e.Register, []byte{m.Proto})
	case expr.MetaKeyNFPROTO:
		return m.put(e.Register, []byte{family})
	case expr.MetaKeyPROTOCOL:
		return m.put(e.Register, binary.BigEndian.AppendUint16(nil, ethertype))
	case expr.MetaKeyIIFNAME:
		return m.put(e.Register, linkName(m.In))
	case expr.MetaKeyOIFNAME:
		return m.put(e.Register, linkName(m.Out))
	case expr.MetaKeyIIF:
		return m.put(e.Register, linkIndex(m.In))
	case expr.MetaKeyOIF:
		return m.put(e.Register, linkIndex(m.Out))
	case expr.MetaKeyMARK:
		return m.put(e.Register, make([]byte, 4))
	case expr.MetaKeyPKTTYPE:
		return m.put(e.Register, []byte{unix.PACKET_HOST})
	}
	return m.lose(e.Register, 16)
}

func linkName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func linkIndex(name string) []byte {
	index := 0
	if link, err := net.InterfaceByName(name); err == nil {
		index = link.Index
	}
	return binaryutil.NativeEndian.PutUint32(uint32(index))
}

// payload loads bytes of the packet. What is not there does not hold.
func (m *matcher) payload(e *expr.Payload) answer {
	if e.OperationType != expr.PayloadLoad {
		return yes
	}
	from := m.ip
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
	case expr.PayloadBaseTransportHeader:
		from = m.l4
	default:
		return m.lose(e.DestRegister, int(min(e.Len, registers)))
	}
	if int64(e.Offset)+int64(e.Len) > int64(len(from)) {
		return no
	}
	return m.put(e.DestRegister, from[e.Offset:e.Offset+e.Len])
}

func (m *matcher) bitwise(e *expr.Bitwise) answer {
	size := int(min(e.Len, registers))
	have := m.get(e.SourceRegister, size)
	if have == nil || len(e.Mask) != size || len(e.Xor) != size {
		return m.lose(e.DestRegister, size)
	}
	out := make([]byte, size)
	for i := range out {
		out[i] = have[i]&e.Mask[i] ^ e.Xor[i]
	}
	return m.put(e.DestRegister, out)
}

func (m *matcher) compare(e *expr.Cmp) answer {
	have := m.get(e.Register, len(e.Data))
	if have == nil {
		return unknown
	}
	c := bytes.Compare(have, e.Data)
	switch e.Op {
	case expr.CmpOpEq:
		return holds(c == 0)
	case expr.CmpOpNeq:
		return holds(c != 0)
	case expr.CmpOpLt:
		return holds(c < 0)
	case expr.CmpOpLte:
		return holds(c <= 0)
	case expr.CmpOpGt:
		return holds(c > 0)
	case expr.CmpOpGte:
		return holds(c >= 0)
	}
	return unknown
}

// lookup looks for a register's content in a set, or a map of verdicts.
func (m *matcher) lookup(e *expr.Lookup, sets map[string]set) (answer, *expr.Verdict) {
	s, ok := sets[e.SetName]
	if !ok || s.concat && s.interval {
		return unknown, nil
	}
	if len(s.elements) == 0 {
		return holds(e.Invert), nil
	}
	key := m.get(e.SourceRegister, len(s.elements[0].Key))
	if key == nil {
		return unknown, nil
	}
	found := s.find(key)
	switch {
	case found == nil || e.Invert:
		return holds((found != nil) != e.Invert), nil
	case !e.IsDestRegSet:
		return yes, nil
	case e.DestRegister == unix.NFT_REG_VERDICT:
		v := verdictOf(found.Val)
		if v == nil {
			return unknown, nil
		}
		return yes, v
	}
	return m.put(e.DestRegister, found.Val), nil
}

// verdictOf reads what a map of verdicts says, NFTA_VERDICT_* attributes; nil
// where it is not that.
func verdictOf(b []byte) *expr.Verdict {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil
	}
	ad.ByteOrder = binary.BigEndian
	var v *expr.Verdict
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			v = &expr.Verdict{Kind: expr.VerdictKind(ad.Int32())}
		case unix.NFTA_VERDICT_CHAIN:
			if v != nil {
				v.Chain = ad.String()
			}
		}
	}
	if ad.Err() != nil {
		return nil
	}
	return v
}

// find is the element of a key. Those of intervals begin with one element and
// end before the next that says IntervalEnd.
func (s set) find(key []byte) *nftables.SetElement {
	var best *nftables.SetElement
	for i := range s.elements {
		e := &s.elements[i]
		switch {
		case !s.interval:
			if bytes.Equal(e.Key, key) {
				return e
			}
		case len(e.Key) == len(key) && bytes.Compare(e.Key, key) <= 0 &&
			(best == nil || bytes.Compare(e.Key, best.Key) > 0 || bytes.Equal(e.Key, best.Key) && best.IntervalEnd):
			best = e
		}
	}
	if best != nil && best.IntervalEnd {
		return nil
	}
	return best
}
