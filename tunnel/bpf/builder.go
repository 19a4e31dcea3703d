package bpf

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// Offsets in struct __sk_buff.
const (
	skbLen      = 0
	skbPktType  = 4
	skbProtocol = 16
	skbGSOSize  = 176
)

// Return values of tcx programs.
const (
	tcxNext = -1 // the next program, in the end the stack
	tcxDrop = 2
)

// Labels that every program has.
const (
	labelNext = "next" // leave the packet to the stack
	labelDrop = "drop" // drop for the reason in R0
)

// Registers with one meaning all through a program.
const (
	ctx      = asm.R6 // the packet
	outerSrc = asm.R7 // decap: the outer source, host order
	outerDst = asm.R7 // encap: the outer destination, host order
	counts   = asm.R9 // this CPU's counters
)

// A builder collects instructions. A label stands on the next instruction.
type builder struct {
	ins     asm.Instructions
	pending string
	labels  int
}

func (b *builder) add(ins ...asm.Instruction) {
	for _, i := range ins {
		if b.pending != "" {
			i = i.WithSymbol(b.pending)
			b.pending = ""
		}
		b.ins = append(b.ins, i)
	}
}

// label puts a label on what follows.
func (b *builder) label(name string) {
	if b.pending != "" { // two labels on one place
		b.add(asm.Mov.Reg(asm.R0, asm.R0))
	}
	b.pending = name
}

// fresh returns a label that is not in use.
func (b *builder) fresh(what string) string {
	b.labels++
	return fmt.Sprintf("%s_%d", what, b.labels)
}

// loadBytes reads n bytes of the packet at off behind the network header to
// the stack, and leaves the packet to the stack where it is shorter. The
// packet's own link header does not matter.
func (b *builder) loadBytes(off, to, n int32) {
	const startNet = 1 // BPF_HDR_START_NET
	b.add(
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, off),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, to),
		asm.Mov.Imm(asm.R4, n),
		asm.Mov.Imm(asm.R5, startNet),
		asm.FnSkbLoadBytesRelative.Call(),
		asm.JNE.Imm(asm.R0, 0, labelNext),
	)
}

// loadCounters points counts to this CPU's counters.
func (b *builder) loadCounters(fd int) {
	const key = -84 // below all else that is on the stack
	b.add(
		asm.StoreImm(asm.RFP, key, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, fd),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, labelNext),
		asm.Mov.Reg(counts, asm.R0),
	)
}

// count adds a register to a counter; R1 is lost.
func (b *builder) count(slot int, n asm.Register) {
	b.add(
		asm.LoadMem(asm.R1, counts, int16(8*slot), asm.DWord),
		asm.Add.Reg(asm.R1, n),
		asm.StoreMem(counts, int16(8*slot), asm.R1, asm.DWord),
	)
}

// countPassed counts a packet of bytes in R3, which GSO may make several. How
// many, adjust_room has forgotten by now.
func (b *builder) countPassed(packets, bytes int) {
	one, counted := b.fresh("one"), b.fresh("counted")
	b.add(
		asm.LoadMem(asm.R1, ctx, skbGSOSize, asm.Word),
		asm.JEq.Imm(asm.R1, 0, one),
		asm.Mov.Reg(asm.R2, asm.R3),
		asm.Sub.Imm(asm.R2, innerLen+1),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.Div.Reg(asm.R2, asm.R1),
		asm.Ja.Label(counted),
	)
	b.label(one)
	b.add(asm.Mov.Imm(asm.R2, 1))
	b.label(counted)
	b.count(packets, asm.R2)
	b.count(bytes, asm.R3)
}

// hostOrder turns the 64-bit words of the packet on the stack from off on into
// host order, in place.
func (b *builder) hostOrder(off int16, words int) {
	for i := range int16(words) {
		b.add(
			asm.LoadMem(asm.R1, asm.RFP, off+8*i, asm.DWord),
			asm.HostTo(asm.BE, asm.R1, asm.DWord),
			asm.StoreMem(asm.RFP, off+8*i, asm.R1, asm.DWord),
		)
	}
}

// end closes the program with the places that all jump to.
func (b *builder) end() asm.Instructions {
	const fault = "fault"
	// The kernel refuses what no jump leads to.
	if slices.ContainsFunc(b.ins, func(i asm.Instruction) bool { return i.Reference() == fault }) {
		b.label(fault)
		b.add(asm.Mov.Imm(asm.R2, 1))
		b.count(faults, asm.R2)
		b.add(asm.Mov.Imm(asm.R0, tcxDrop), asm.Return())
	}

	b.label(labelDrop) // the reason's slot, 8 bytes each
	b.add(
		asm.LSh.Imm(asm.R0, 3),
		asm.Add.Reg(counts, asm.R0),
		asm.LoadMem(asm.R1, counts, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(counts, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, tcxDrop),
		asm.Return(),
	)
	b.label(labelNext)
	b.add(asm.Mov.Imm(asm.R0, tcxNext), asm.Return())
	return b.ins
}
