package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"genkan/tunnel/icmp"
	"genkan/tunnel/ingress"
)

// probe runs the program for what arrives, before anything is attached, on a
// packet that must pass and on one that must not. A kernel that accepts decap but
// not what it asks for would send everything through user space, and say nothing.
func probe(cfg Config, e end) error {
	m, err := ebpf.NewMap(counterSpec())
	if err != nil {
		return explain("create eBPF map", err)
	}
	defer m.Close()
	cfg.LinkHeader = probeHeader
	prog, err := load("probe", e.build(cfg, m.FD()))
	if err != nil {
		return err
	}
	defer prog.Close()
	pkt := welcome(cfg.Check)
	if pkt == nil {
		return nil // no packet is: nothing to try
	}
	verdict, out, err := tryFrame(prog, pkt)
	if err != nil {
		return explain("try eBPF program "+e.name, err)
	}
	const redirect = 7 // TC_ACT_REDIRECT
	bare := verdict == redirect && bytes.HasPrefix(out[probeHeader:], pkt[outerLen:])
	whole := verdict == tcxNext && bytes.HasPrefix(out[probeHeader:], pkt)
	switch {
	case e.name == "guard" && !whole:
		return fmt.Errorf("try eBPF program guard: a good packet did not pass (returned %d)", verdict)
	case e.name != "guard" && !bare:
		return fmt.Errorf("try eBPF program decap: this kernel does not strip the outer header (returned %d); needs Linux 6.6", verdict)
	}
	binary.BigEndian.PutUint32(pkt[12:], 0x7f000001) // RFC 4213 §3.6: never from loopback
	seal(pkt)
	if verdict, _, err = tryFrame(prog, pkt); err == nil && verdict != tcxDrop {
		err = errors.New("a packet from 127.0.0.1 was not dropped")
	}
	if err != nil {
		return explain("try eBPF program "+e.name, err)
	}
	return nil
}

const probeHeader = 14

// tryFrame runs prog on an outer packet behind an Ethernet header for nobody,
// which the kernel takes for its loopback device.
func tryFrame(prog *ebpf.Program, pkt []byte) (int32, []byte, error) {
	frame := append(make([]byte, 12, probeHeader+len(pkt)), 8, 0)
	opts := ebpf.RunOptions{Data: append(frame, pkt...), DataOut: make([]byte, 256)}
	ret, err := prog.Run(&opts)
	return int32(ret), opts.DataOut, err
}

// welcome makes a packet that check lets in, or nil.
func welcome(check *ingress.Checker) []byte {
	out := check.Outbound()
	sources := []uint32{out.Gateway}
	if out.Kind == ingress.Relay { // an edge: one of our neighbours by number
		sources = []uint32{out.Local ^ 1, out.Local ^ 2, out.Local ^ 4, out.Local ^ 8}
	}
	for _, source := range sources {
		for _, inet := range []uint64{0x2606470000000000, 0x2a00145000000000} {
			src, dst := addr{inet, 1}, addr{inet, 2}
			if out.Kind == ingress.Relay {
				src = addr{out.Bits.Delegated(source), 1}
			} else {
				dst = addr{out.Own[0].Hi, out.Own[0].Lo | 1&^out.Own[0].LoMask}
			}
			if pkt := emptyPacket(source, out.Local, src, dst); check.Check(pkt) == ingress.Pass {
				return pkt
			}
		}
	}
	return nil
}

// An addr is an IPv6 address in two halves.
type addr struct{ hi, lo uint64 }

// emptyPacket is an outer packet around an inner one without payload.
func emptyPacket(outerSrc, outerDst uint32, src, dst addr) []byte {
	b := make([]byte, outerLen+innerLen)
	b[0], b[8], b[9] = 0x45, 64, 41
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[12:], outerSrc)
	binary.BigEndian.PutUint32(b[16:], outerDst)
	seal(b)
	in := b[outerLen:]
	in[0], in[6], in[7] = 0x60, 59, 64
	for i, w := range []uint64{src.hi, src.lo, dst.hi, dst.lo} {
		binary.BigEndian.PutUint64(in[8+8*i:], w)
	}
	return b
}

// seal sets the outer header's checksum.
func seal(pkt []byte) {
	pkt[10], pkt[11] = 0, 0
	binary.BigEndian.PutUint16(pkt[10:], icmp.Fold(icmp.Sum(0, pkt[:outerLen])))
}
