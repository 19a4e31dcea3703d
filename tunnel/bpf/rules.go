package bpf

import (
	"math"
	"math/bits"
	"slices"

	"github.com/cilium/ebpf/asm"

	"genkan/tunnel/ingress"
	"genkan/tunnel/sixrd"
)

// Where the addresses of the inner packet stand on the stack, in host order:
// four 64-bit words.
const (
	srcHi = -40
	srcLo = -32
	dstHi = -24
	dstLo = -16
)

// rule adds one rule of the table. Rules on the outer destination are not for
// here: the program takes nothing but what is for us.
func (b *builder) rule(r ingress.Rule, d sixrd.Bits) {
	end := b.fresh("end")
	if !slices.Contains(r.In, ingress.Pattern{}) { // which matches everything
		in := b.fresh("in")
		for _, p := range r.In {
			b.jumpIf(r.Field, p, in)
		}
		b.add(asm.Ja.Label(end))
		b.label(in)
	}
	for _, p := range r.Except {
		b.jumpIf(r.Field, p, end)
	}
	for _, p := range r.Trusted {
		b.jumpIf(ingress.OuterSrc, p, end)
	}
	switch r.When {
	case ingress.NotEmbedded:
		b.embedded(asm.R1, hiOf(r.Field), d)
		b.add(asm.JEq.Reg(asm.R1, outerSrc, end))
	case ingress.SameAddress:
		for i := range int16(2) {
			b.add(
				asm.LoadMem(asm.R1, asm.RFP, srcHi+8*i, asm.DWord),
				asm.LoadMem(asm.R2, asm.RFP, dstHi+8*i, asm.DWord),
				asm.JNE.Reg(asm.R1, asm.R2, end),
			)
		}
	}
	b.drop(r.Reason)
	b.label(end)
}

// drop drops the packet for a reason.
func (b *builder) drop(r ingress.Reason) {
	b.add(asm.Mov.Imm(asm.R0, int32(r)), asm.Ja.Label(labelDrop))
}

func hiOf(f ingress.Field) int16 {
	if f == ingress.InnerDst {
		return dstHi
	}
	return srcHi
}

// jumpIf jumps when the field matches the pattern; R1 and R2 are lost.
func (b *builder) jumpIf(f ingress.Field, p ingress.Pattern, to string) {
	no := b.fresh("no")
	if p == (ingress.Pattern{}) { // everything
		b.add(asm.Ja.Label(to))
		return
	}
	if f == ingress.OuterSrc {
		b.add(asm.Mov.Reg(asm.R1, outerSrc))
		b.unlessMasked(p.Lo, p.LoMask|0xffffffff<<32, no)
	} else {
		hi := hiOf(f)
		if p.HiMask != 0 {
			b.add(asm.LoadMem(asm.R1, asm.RFP, hi, asm.DWord))
			b.unlessMasked(p.Hi, p.HiMask, no)
		}
		if p.LoMask != 0 {
			b.add(asm.LoadMem(asm.R1, asm.RFP, hi+8, asm.DWord))
			b.unlessMasked(p.Lo, p.LoMask, no)
		}
	}
	b.add(asm.Ja.Label(to))
	b.label(no)
}

// unlessMasked jumps when the masked bits of R1 are not value.
func (b *builder) unlessMasked(value, mask uint64, to string) {
	n := bits.LeadingZeros64(^mask)
	switch {
	case n == 64:
	case mask == ^(^uint64(0) >> n): // a prefix
		b.add(asm.RSh.Imm(asm.R1, int32(64-n)))
		value >>= 64 - n
	default:
		b.add(asm.LoadImm(asm.R2, int64(mask), asm.DWord), asm.And.Reg(asm.R1, asm.R2))
	}
	if value <= math.MaxInt32 {
		b.add(asm.JNE.Imm(asm.R1, int32(value), to))
		return
	}
	b.add(asm.LoadImm(asm.R2, int64(value), asm.DWord), asm.JNE.Reg(asm.R1, asm.R2, to))
}

// embedded puts the IPv4 address that the 6rd domain embeds in the upper half
// at hi into a register, in host order; R2 is lost.
func (b *builder) embedded(to asm.Register, hi int16, d sixrd.Bits) {
	b.add(asm.LoadMem(to, asm.RFP, hi, asm.DWord))
	if d.Len < 64 && d.Shared < 32 {
		b.add(asm.LSh.Imm(to, int32(d.Len)), asm.RSh.Imm(to, int32(32+d.Shared)))
	} else {
		b.add(asm.Mov.Imm(to, 0))
	}
	b.add(asm.LoadImm(asm.R2, int64(d.Common), asm.DWord), asm.Or.Reg(to, asm.R2))
}
