package bpf

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"genkan/tunnel/ingress"
)

const (
	// first is where the inner packet's first 8 bytes stand on the stack.
	first = srcHi - 8
	// outer is where the outer header is made.
	outer = first - 24

	dontFragment = 0x4000
	minMTU       = 1280
	// tcpHeaders are the inner headers that a GSO size does not count.
	tcpHeaders = innerLen + 20
)

// encap is the program on the TUN device's egress.
func encap(cfg Config, counters int) asm.Instructions {
	out := cfg.Check.Outbound()
	b := new(builder)
	b.add(
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMem(asm.R1, ctx, skbProtocol, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JNE.Imm(asm.R1, unix.ETH_P_IPV6, labelNext),
	)
	b.loadBytes(0, first, innerLen)
	b.add(
		asm.LoadMem(asm.R1, asm.RFP, first, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.JNE.Imm(asm.R1, 6, labelNext),
		asm.LoadMem(asm.R1, asm.RFP, first+4, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.Add.Imm(asm.R1, innerLen),
	)
	b.length(asm.R2, cfg)
	b.add(asm.JGT.Reg(asm.R1, asm.R2, labelNext))
	b.loadCounters(counters)
	b.hostOrder(srcHi, 4)
	b.mayLeave(out)
	b.destination(out)
	b.byUplink(cfg.Routes)
	b.clamp(cfg)
	b.header(cfg, out.Local)
	b.push(cfg)
	return b.end()
}

// length puts the inner packet's length into a register.
func (b *builder) length(r asm.Register, cfg Config) {
	b.add(asm.LoadMem(r, ctx, skbLen, asm.Word))
	if cfg.tunHeader != 0 {
		b.add(asm.Sub.Imm(r, int32(cfg.tunHeader)))
	}
}

// mayLeave drops what goes without an answer. What needs one, or is never
// sent, is left to the userspace datapath.
func (b *builder) mayLeave(out ingress.Outbound) {
	silent, ok := b.fresh("silent"), b.fresh("ok")
	for _, f := range []ingress.Field{ingress.InnerSrc, ingress.InnerDst} {
		for _, p := range out.Silent {
			b.jumpIf(f, p, silent)
		}
	}
	b.add(asm.Ja.Label(ok))
	b.label(silent)
	b.drop(ingress.EgressMartian)
	b.label(ok)
	if out.Kind == ingress.Relay {
		return
	}
	own := b.fresh("own")
	for _, p := range out.Own {
		b.jumpIf(ingress.InnerSrc, p, own)
	}
	b.add(asm.Ja.Label(labelNext))
	b.label(own)
	for _, p := range out.Own {
		b.jumpIf(ingress.InnerDst, p, labelNext)
	}
}

// destination sets outerDst (RFC 5969 §9.1).
func (b *builder) destination(out ingress.Outbound) {
	gateway, end := b.fresh("gateway"), b.fresh("end")
	if out.Kind != ingress.Configured {
		elsewhere := gateway
		if out.Kind == ingress.Relay {
			elsewhere = labelNext
		}
		d := out.Bits
		b.add(asm.LoadMem(asm.R1, asm.RFP, dstHi, asm.DWord))
		b.unlessMasked(d.Prefix, ^(^uint64(0) >> d.Len), elsewhere)
		b.embedded(outerDst, dstHi, d)
		b.add(asm.LoadImm(asm.R2, int64(out.Local), asm.DWord), asm.JEq.Reg(outerDst, asm.R2, labelNext))
		for _, p := range out.Unroutable {
			b.jumpIf(ingress.OuterSrc, p, labelNext) // outerDst is in outerSrc's place
		}
		b.add(asm.Ja.Label(end))
	}
	if out.Kind != ingress.Relay {
		b.label(gateway)
		b.add(asm.LoadImm(outerDst, int64(out.Gateway), asm.DWord))
	}
	b.label(end)
}

// header makes the outer header on the stack (RFC 4213 §3.5). R8 is the sum of
// its words meanwhile.
func (b *builder) header(cfg Config, local uint32) {
	half := func(off int16, r asm.Register) {
		b.add(asm.HostTo(asm.BE, r, asm.Half), asm.StoreMem(asm.RFP, outer+off, r, asm.Half))
	}
	constant := uint32(0x4500) + uint32(cfg.TTL)<<8 + unix.IPPROTO_IPV6 + local>>16 + local&0xffff
	b.add(asm.Mov.Imm(asm.R8, int32(constant)))

	b.add( // version, header length, TOS = the traffic class
		asm.LoadMem(asm.R1, asm.RFP, first, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.RSh.Imm(asm.R1, 4),
		asm.And.Imm(asm.R1, 0xff),
		asm.Add.Reg(asm.R8, asm.R1),
		asm.Or.Imm(asm.R1, 0x4500),
	)
	half(0, asm.R1)

	b.length(asm.R1, cfg) // total length
	b.add(
		asm.Add.Imm(asm.R1, outerLen),
		asm.JGT.Imm(asm.R1, 0xffff, labelNext),
		asm.Add.Reg(asm.R8, asm.R1),
	)
	half(2, asm.R1)
	b.fragmentation(cfg)

	b.add(
		asm.StoreImm(asm.RFP, outer+8, int64(cfg.TTL), asm.Byte),
		asm.StoreImm(asm.RFP, outer+9, unix.IPPROTO_IPV6, asm.Byte),
		asm.LoadImm(asm.R1, int64(local), asm.DWord),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(asm.RFP, outer+12, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R1, outerDst),
		asm.RSh.Imm(asm.R1, 16),
		asm.Add.Reg(asm.R8, asm.R1),
		asm.Mov.Reg(asm.R1, outerDst),
		asm.And.Imm(asm.R1, 0xffff),
		asm.Add.Reg(asm.R8, asm.R1),
		asm.Mov.Reg(asm.R1, outerDst),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(asm.RFP, outer+16, asm.R1, asm.Word),
	)
	b.fold(asm.R8)
	b.add(asm.Xor.Imm(asm.R8, 0xffff))
	half(10, asm.R8)
}

// fragmentation sets identification and flags. An inner packet of up to 1280
// bytes must get through any path: DF stays clear, and then the identification
// counts (RFC 4213 §3.2.2, RFC 6864). GSO counts it on from segment to segment.
func (b *builder) fragmentation(cfg Config) {
	set, clear, end := b.fresh("df"), b.fresh("nodf"), b.fresh("end")
	if cfg.Anycast { // RFC 5969 §9.2: fragments could reach different relays
		b.add(asm.Ja.Label(set))
	} else {
		plain := b.fresh("plain")
		b.add(
			asm.LoadMem(asm.R1, ctx, skbGSOSize, asm.Word),
			asm.JEq.Imm(asm.R1, 0, plain),
			asm.JGT.Imm(asm.R1, minMTU-tcpHeaders, set),
			asm.Ja.Label(clear),
		)
		b.label(plain)
		b.length(asm.R1, cfg)
		b.add(asm.JGT.Imm(asm.R1, minMTU, set))
		b.label(clear)
		b.add(
			asm.FnGetPrandomU32.Call(),
			asm.And.Imm(asm.R0, 0xffff),
			asm.Add.Reg(asm.R8, asm.R0),
			asm.HostTo(asm.BE, asm.R0, asm.Half),
			asm.StoreMem(asm.RFP, outer+4, asm.R0, asm.Half),
			asm.StoreImm(asm.RFP, outer+6, 0, asm.Half),
			asm.Ja.Label(end),
		)
	}
	b.label(set)
	b.add(
		asm.Mov.Imm(asm.R1, dontFragment),
		asm.Add.Reg(asm.R8, asm.R1),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.RFP, outer+6, asm.R1, asm.Half),
		asm.StoreImm(asm.RFP, outer+4, 0, asm.Half),
	)
	b.label(end)
}

// push puts the outer header on and sends the packet by the uplink, where the
// kernel finds route and neighbour. What adjust_room refuses has not changed:
// it comes out of the TUN device for the userspace datapath.
func (b *builder) push(cfg Config) {
	b.length(asm.R1, cfg)
	b.add(
		asm.StoreMem(asm.RFP, outer-8, asm.R1, asm.DWord),

		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, outerLen),
		asm.Mov.Imm(asm.R3, roomMAC),
		asm.Mov.Imm(asm.R4, encapIPv4|fixedGSO),
		asm.FnSkbAdjustRoom.Call(),
		asm.JNE.Imm(asm.R0, 0, labelNext),

		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, int32(cfg.tunHeader)),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, outer),
		asm.Mov.Imm(asm.R4, outerLen),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "fault"),

		// Room for the link header: without it, redirect_neigh drops silently
		// what comes from a device that has none.
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, int32(cfg.LinkHeader)),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkbChangeHead.Call(),
		asm.JNE.Imm(asm.R0, 0, "fault"),

		asm.LoadMem(asm.R3, asm.RFP, outer-8, asm.DWord),
	)
	b.countPassed(txPackets, txBytes)
	b.add(
		asm.Mov.Imm(asm.R1, int32(cfg.Uplink)),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRedirectNeigh.Call(),
		asm.Return(),
	)
}
