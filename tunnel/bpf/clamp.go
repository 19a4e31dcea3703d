package bpf

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Places in a TCP header, and its flag.
const (
	tcpOffset  = 12
	tcpSum     = 16
	tcpOptions = 20
	tcpSYN     = 0x02
)

// clamp lowers the MSS of a TCP SYN to what the tunnel carries, as package icmp
// does it. All stacks in use put the MSS first among the options; a SYN with
// another there is left to the userspace datapath.
func (b *builder) clamp(cfg Config) {
	const (
		tcp     = outer // 16 bytes, before the outer header is made there
		option  = outer
		replace = 2 // the size of what l4_csum_replace replaces
	)
	limit := int32(cfg.MTU - innerLen - tcpOptions)
	done := b.fresh("clamped")
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, first+6, asm.Byte),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_TCP, done),
	)
	b.loadBytes(innerLen, tcp, tcpOffset+2)
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, tcp+tcpOffset+1, asm.Byte),
		asm.And.Imm(asm.R1, tcpSYN),
		asm.JEq.Imm(asm.R1, 0, done),
		asm.LoadMem(asm.R1, asm.RFP, tcp+tcpOffset, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.JLE.Imm(asm.R1, tcpOptions/4, done), // no options
	)
	b.loadBytes(innerLen+tcpOptions, option, 4)
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, option, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JNE.Imm(asm.R1, 0x0204, labelNext),
		asm.LoadMem(asm.R8, asm.RFP, option+2, asm.Half), // in network order
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JLE.Imm(asm.R1, limit, done),

		asm.Mov.Imm(asm.R1, limit),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.RFP, option+2, asm.R1, asm.Half),
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, int32(cfg.tunHeader)+innerLen+tcpOptions+2),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, option+2),
		asm.Mov.Imm(asm.R4, 2),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, labelNext),
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, int32(cfg.tunHeader)+innerLen+tcpSum),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.LoadMem(asm.R4, asm.RFP, option+2, asm.Half),
		asm.Mov.Imm(asm.R5, replace),
		asm.FnL4CsumReplace.Call(), // knows partial checksums
		asm.JNE.Imm(asm.R0, 0, "fault"),
	)
	b.label(done)
}
