package bpf

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

const (
	outerLen = 20
	innerLen = 40

	// head is where the outer and inner headers stand on the stack, so that
	// the inner addresses are aligned.
	head  = -68
	inner = head + outerLen
	// total holds the outer packet's length.
	total = -8
)

// Flags of bpf_skb_adjust_room.
const (
	roomMAC       = 1 // BPF_ADJ_ROOM_MAC
	fixedGSO      = 1 << 0
	encapIPv4     = 1 << 1
	noCsumReset   = 1 << 5
	decapIPv6     = 1 << 8
	recomputeCsum = 1 // BPF_F_RECOMPUTE_CSUM
	toIngress     = 1 // BPF_F_INGRESS
)

// decap is the program on the uplink's ingress.
func decap(cfg Config, counters int) asm.Instructions {
	b := checks(cfg, counters)
	b.strip(cfg)
	return b.end()
}

// guard is decap that leaves to the stack what it lets in: in front of a kernel
// device, which makes fewer checks.
func guard(cfg Config, counters int) asm.Instructions {
	b := checks(cfg, counters)
	b.add(asm.Ja.Label(labelNext))
	return b.end()
}

// checks judges plain protocol-41 packets for us by the table of package
// ingress, and leaves all others to the stack.
func checks(cfg Config, counters int) *builder {
	out := cfg.Check.Outbound()
	b := new(builder)
	b.add(asm.Mov.Reg(ctx, asm.R1))
	// For another MAC address, on a promiscuous interface: not ours.
	b.add(
		asm.LoadMem(asm.R1, ctx, skbPktType, asm.Word),
		asm.JNE.Imm(asm.R1, unix.PACKET_HOST, labelNext),
		asm.LoadMem(asm.R1, ctx, skbProtocol, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JNE.Imm(asm.R1, unix.ETH_P_IP, labelNext),
	)
	b.loadBytes(0, head, outerLen+innerLen)
	b.outerHeader(out.Local, cfg.LinkHeader)
	b.loadCounters(counters)
	b.innerHeader()
	for _, r := range cfg.Check.Rules() {
		if r.Field != ingress.OuterDst {
			b.rule(r, out.Bits)
		}
	}
	b.payload(out.Kind)
	b.congestion()
	return b
}

// outerHeader leaves everything to the stack that is not a plain protocol-41
// packet for us, whole and without options. Afterwards outerSrc is set.
func (b *builder) outerHeader(local uint32, linkHeader int) {
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, head, asm.Byte),
		asm.JNE.Imm(asm.R1, 0x45, labelNext),
		asm.LoadMem(asm.R1, asm.RFP, head+9, asm.Byte),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_IPV6, labelNext),
		asm.LoadMem(asm.R1, asm.RFP, head+16, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.LoadImm(asm.R2, int64(local), asm.DWord),
		asm.JNE.Reg(asm.R1, asm.R2, labelNext),
		asm.LoadMem(asm.R1, asm.RFP, head+6, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.And.Imm(asm.R1, 0x3fff), // MF or an offset
		asm.JNE.Imm(asm.R1, 0, labelNext),

		asm.LoadMem(asm.R1, asm.RFP, head+2, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.RFP, total, asm.R1, asm.DWord),
		asm.JLT.Imm(asm.R1, outerLen+innerLen, labelNext),
		asm.LoadMem(asm.R2, ctx, skbLen, asm.Word),
		asm.Sub.Imm(asm.R2, int32(linkHeader)),
		asm.JLT.Reg(asm.R2, asm.R1, labelNext),

		// The header checksum. Without hardware that checks it, nobody has.
		asm.Mov.Imm(asm.R1, 0),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, head),
		asm.Mov.Imm(asm.R4, outerLen),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnCsumDiff.Call(),
	)
	b.fold(asm.R0)
	b.add(
		asm.JNE.Imm(asm.R0, 0xffff, labelNext),
		asm.LoadMem(outerSrc, asm.RFP, head+12, asm.Word),
		asm.HostTo(asm.BE, outerSrc, asm.Word),
	)
}

// fold folds the one's complement sum in a register to 16 bits; R1 is lost.
func (b *builder) fold(r asm.Register) {
	b.add(asm.LSh.Imm(r, 32), asm.RSh.Imm(r, 32))
	for range 2 {
		b.add(
			asm.Mov.Reg(asm.R1, r),
			asm.RSh.Imm(asm.R1, 16),
			asm.And.Imm(r, 0xffff),
			asm.Add.Reg(r, asm.R1),
		)
	}
}

// innerHeader leaves malformed packets to the stack. It uses R1 and R2 only,
// and brings the addresses into host order.
func (b *builder) innerHeader() {
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, inner, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.JNE.Imm(asm.R1, 6, labelNext),
		asm.LoadMem(asm.R1, asm.RFP, inner+4, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.Add.Imm(asm.R1, outerLen+innerLen),
		asm.LoadMem(asm.R2, asm.RFP, total, asm.DWord),
		asm.JGT.Reg(asm.R1, asm.R2, labelNext),
	)
	b.hostOrder(srcHi, 4)
}

// payload lets pass what has no extension headers and is no ICMPv6 error; it
// drops what package ingress drops of that, and leaves the rest to the stack.
func (b *builder) payload(kind ingress.Kind) {
	const scratch = head // 8 bytes; the outer header's TOS is saved by congestion
	udp, icmp, pass := b.fresh("udp"), b.fresh("icmp"), b.fresh("pass")
	b.add(
		asm.LoadMem(asm.R8, asm.RFP, head+1, asm.Byte), // TOS, for congestion
		asm.LoadMem(asm.R1, asm.RFP, inner+6, asm.Byte),
	)
	for _, next := range []int32{unix.IPPROTO_TCP, 59, unix.IPPROTO_ESP, unix.IPPROTO_SCTP} {
		b.add(asm.JEq.Imm(asm.R1, next, pass))
	}
	b.add(
		asm.JEq.Imm(asm.R1, unix.IPPROTO_UDP, udp),
		asm.JEq.Imm(asm.R1, unix.IPPROTO_ICMPV6, icmp),
		asm.Ja.Label(labelNext),
	)

	b.label(udp)
	b.atLeast(8)
	if kind != ingress.Relay {
		b.loadBytes(outerLen+innerLen, scratch, 8)
		b.add(
			asm.LoadMem(asm.R1, asm.RFP, scratch+6, asm.Half),
			asm.JNE.Imm(asm.R1, 0, pass),
		)
		b.drop(ingress.UDPNoChecksum)
	} else {
		b.add(asm.Ja.Label(pass))
	}

	b.label(icmp)
	b.atLeast(8)
	b.loadBytes(outerLen+innerLen, scratch, 8)
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, scratch, asm.Byte),
		asm.JLT.Imm(asm.R1, 128, labelNext),
	)
	if kind == ingress.Configured { // NUD probes
		b.add(asm.JEq.Imm(asm.R1, 135, labelNext), asm.JEq.Imm(asm.R1, 136, labelNext))
	}
	bad := b.fresh("nd")
	for _, r := range ingress.LinkOnly() {
		no := b.fresh("no")
		b.add(
			asm.JLT.Imm(asm.R1, int32(r[0]), no),
			asm.JLE.Imm(asm.R1, int32(r[1]), bad),
		)
		b.label(no)
	}
	b.add(asm.Ja.Label(pass))
	b.label(bad)
	b.drop(ingress.NeighborDiscovery)
	b.label(pass)
}

// atLeast leaves to the stack what has a shorter payload, by its own word.
func (b *builder) atLeast(n int32) {
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, inner+4, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JLT.Imm(asm.R1, n, labelNext),
	)
}

// congestion is RFC 6040 §4.2: R8 is the outer TOS before, and afterwards the
// second byte of the inner packet as it has to be, or 0 for no change.
func (b *builder) congestion() {
	const notECT, ect1, ect0, ce = 0, 1, 2, 3
	marked, one, set, none, end := b.fresh("ce"), b.fresh("ect1"), b.fresh("set"), b.fresh("none"), b.fresh("end")
	b.add(
		asm.And.Imm(asm.R8, 3),
		asm.LoadMem(asm.R1, asm.RFP, inner+1, asm.Byte),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.RSh.Imm(asm.R2, 4),
		asm.And.Imm(asm.R2, 3),
		asm.JEq.Imm(asm.R8, ce, marked),
		asm.JEq.Imm(asm.R8, ect1, one),
		asm.Ja.Label(none),
	)
	b.label(one)
	b.add(asm.JEq.Imm(asm.R2, ect0, set), asm.Ja.Label(none))
	b.label(marked)
	b.add(asm.JEq.Imm(asm.R2, ce, none), asm.JNE.Imm(asm.R2, notECT, set))
	b.drop(ingress.ECN)
	b.label(set)
	b.add(
		asm.And.Imm(asm.R1, 0xcf),
		asm.LSh.Imm(asm.R8, 4),
		asm.Or.Reg(asm.R8, asm.R1),
		asm.Ja.Label(end),
	)
	b.label(none)
	b.add(asm.Mov.Imm(asm.R8, 0))
	b.label(end)
}

// strip takes the outer header off and hands the packet to the TUN device as
// received. The outer header's sum is 0, so the packet's needs no reset.
func (b *builder) strip(cfg Config) {
	const mark = head
	clean := b.fresh("clean")
	b.add(
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, -outerLen),
		asm.Mov.Imm(asm.R3, roomMAC),
		asm.Mov.Imm(asm.R4, fixedGSO|decapIPv6|noCsumReset),
		asm.FnSkbAdjustRoom.Call(),
		asm.JNE.Imm(asm.R0, 0, labelNext), // nothing has changed: the other datapath may know better
		asm.JEq.Imm(asm.R8, 0, clean),
		asm.StoreMem(asm.RFP, mark, asm.R8, asm.Byte),
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, int32(cfg.LinkHeader)+1),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, mark),
		asm.Mov.Imm(asm.R4, 1),
		asm.Mov.Imm(asm.R5, recomputeCsum),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "fault"),
	)
	b.label(clean)
	b.add(asm.LoadMem(asm.R3, asm.RFP, total, asm.DWord), asm.Sub.Imm(asm.R3, outerLen))
	b.countPassed(rxPackets, rxBytes)
	b.add(
		asm.Mov.Imm(asm.R1, int32(cfg.TUN)),
		asm.Mov.Imm(asm.R2, toIngress),
		asm.FnRedirect.Call(),
		asm.Return(),
	)
}
