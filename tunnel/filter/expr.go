package filter

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Rules are lists of expressions on one register: load, mask, compare.

// join makes one list of parts.
func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func load(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}
}

func mask(m []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))}
}

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: 1, Data: data}
}

// iif compares the name of the interface that the packet came by. The name,
// not the index: the rule outlives the interface being made anew.
func iif(op expr.CmpOp, name string) []expr.Any {
	return ifname(expr.MetaKeyIIFNAME, op, name)
}

func oif(op expr.CmpOp, name string) []expr.Any {
	return ifname(expr.MetaKeyOIFNAME, op, name)
}

func ifname(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, compare(op, data)}
}

// l4 compares the transport protocol.
func l4(proto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, compare(expr.CmpOpEq, []byte{proto})}
}

// bits compares the masked bytes at an offset of a header.
func bits(base expr.PayloadBase, offset uint32, op expr.CmpOp, value, m []byte) []expr.Any {
	masked := make([]byte, len(value))
	for i := range value {
		masked[i] = value[i] & m[i]
	}
	return []expr.Any{load(base, offset, uint32(len(m))), mask(m), compare(op, masked)}
}

// prefix compares an address at an offset of a header with a prefix.
func prefix(base expr.PayloadBase, offset uint32, op expr.CmpOp, p netip.Prefix) []expr.Any {
	value := p.Addr().AsSlice()
	m := make([]byte, len(value))
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return bits(base, offset, op, value, m)
}

func drop() []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
}

func accept() []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
}
