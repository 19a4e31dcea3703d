package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"genkan/tunnel/icmp"
	"genkan/tunnel/ingress"
)

// innerPacket is an IPv6 packet that is as long as size.
func innerPacket(src, dst string, tc byte, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, 6<<28|uint32(tc)<<20|0x12345)
	binary.BigEndian.PutUint16(b[4:], uint16(size-innerLen))
	b[6], b[7] = 59, 64
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return b
}

// out runs encap on an inner packet and returns its verdict and the outer packet.
// The kernel can only run it with an Ethernet header before the packet, which a
// TUN device has not.
func (r *run) out(t testing.TB, inner []byte) (int32, []byte) {
	t.Helper()
	frame := append(make([]byte, 12, 14+len(inner)), 0x86, 0xdd)
	frame = append(frame, inner...)
	opts := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	ret, err := r.encap.Run(&opts)
	if err != nil {
		t.Fatal(err)
	}
	if int32(ret) != tcxRedirect {
		return int32(ret), nil
	}
	return int32(ret), opts.DataOut[14+14:] // behind change_head's room, too
}

// checkOut compares the program with package ingress on an inner packet.
func (r *run) checkOut(t testing.TB, inner []byte) int32 {
	t.Helper()
	to, want := r.check.Egress(inner)
	before := r.mustCount(t)
	ret, h := r.out(t, inner)
	after := r.mustCount(t)
	switch ret {
	case tcxNext:
		if after != before {
			t.Errorf("left to the stack, but counted\n%x", inner)
		}
	case tcxDrop:
		before.Reasons[want]++
		if want != ingress.EgressMartian || after != before {
			t.Errorf("dropped, Egress = %v, counted %v\n%x", want, after.Reasons, inner)
		}
	case tcxRedirect:
		if want != ingress.Pass {
			t.Fatalf("sent, Egress = %v\n%x", want, inner)
		}
		if after.TxPackets != before.TxPackets+1 {
			t.Errorf("counted %d packets", after.TxPackets-before.TxPackets)
		}
		checkHeader(t, r, h[:outerLen], inner, to)
		clamped := bytes.Clone(inner)
		icmp.ClampMSS(clamped, 1480, false)
		if got := h[outerLen : outerLen+len(inner)]; !bytes.Equal(got, clamped) {
			t.Errorf("inside is\n%x\nwant\n%x", got, clamped)
		}
	default:
		t.Errorf("returns %d", ret)
	}
	return ret
}

func checkHeader(t testing.TB, r *run, h, inner []byte, to [4]byte) {
	t.Helper()
	local := make([]byte, 4)
	binary.BigEndian.PutUint32(local, r.check.Outbound().Local)
	df := h[6] == 0x40 && h[7] == 0 && h[4] == 0 && h[5] == 0
	switch {
	case h[0] != 0x45 || h[8] != 64 || h[9] != 41,
		h[1] != inner[0]<<4|inner[1]>>4,
		int(binary.BigEndian.Uint16(h[2:])) != len(inner)+outerLen,
		!df && (h[6] != 0 || h[7] != 0),
		df != (len(inner) > 1280),
		!bytes.Equal(h[12:16], local) || !bytes.Equal(h[16:20], to[:]),
		icmp.Fold(icmp.Sum(0, h)) != 0:
		t.Errorf("header %x for %v\n%x", h, netip.AddrFrom4(to), inner)
	}
}

func TestEncapRun(t *testing.T) {
	requireBPF(t)
	runs := map[string]*run{}
	for name, cfg := range configs() {
		runs[name] = startRun(t, cfg)
	}
	const us, inet = "2001:db8:c000:20a::1", "2606:4700::1"
	for _, row := range []struct {
		config   string
		want     int32
		src, dst string
		tc       byte
		size     int
	}{
		{"A", tcxRedirect, us, inet, 0, 100},
		{"A", tcxRedirect, us, inet, 0xbb, 1280},
		{"A", tcxRedirect, us, inet, 3, 1480},
		{"A", tcxRedirect, us, "2001:db8:c000:201::1", 0, 40},
		{"A", tcxDrop, us, "ff02::16", 0, 100},
		{"A", tcxDrop, "fe80::1", "ff02::2", 0, 100},
		{"A", tcxDrop, us, "::ffff:192.0.2.1", 0, 100},
		{"A", tcxDrop, "::", inet, 0, 100},
		{"A", tcxNext, "2001:db8:c000:201::1", inet, 0, 100}, // answered by the userspace datapath
		{"A", tcxNext, us, "2001:db8:7f00:1::1", 0, 100},
		{"A", tcxNext, us, "2001:db8:c000:2ff::1", 0, 100},
		{"A", tcxNext, us, "2001:db8:c000:20a::2", 0, 100},
		{"B", tcxRedirect, "2001:db8:6464:100::1", "2001:db8:102:300::1", 0, 100},
		{"B", tcxRedirect, "2001:db8:6464:100::1", inet, 0, 100},
		{"C", tcxRedirect, "2001:db8:100::2", "2001:db8:c000:201::1", 0, 100},
		{"C", tcxNext, "2001:db8:100::3", inet, 0, 100},
		{"relay", tcxRedirect, inet, us, 0, 100},
		{"relay", tcxNext, inet, "2606:4700::2", 0, 100},
		{"odd", tcxRedirect, "2a02:58:57:7b00::1", inet, 0, 100},
		{"odd", tcxRedirect, "2a02:58:57:7b00::1", "2a02:58:54:100::1", 0, 100},
	} {
		inner := innerPacket(row.src, row.dst, row.tc, row.size)
		if got := runs[row.config].checkOut(t, inner); got != row.want {
			t.Errorf("%s: %s to %s: returns %d, want %d", row.config, row.src, row.dst, got, row.want)
		}
	}
}

// FuzzRun runs both programs in the kernel on what the fuzzer makes and
// compares them with package ingress.
func FuzzRun(f *testing.F) {
	requireBPF(f)
	var runs []*run
	for _, name := range []string{"A", "B", "C", "relay", "odd"} {
		runs = append(runs, startRun(f, configs()[name]))
	}
	for _, v := range vectors(f) {
		for _, p := range v.packets {
			if len(p) >= 60 {
				f.Add(int(v.config[0]-'A'), p[0], p[1], p[6:8], p[12:16], p[20:])
			}
		}
	}
	f.Add(3, byte(0x45), byte(0), []byte{0x40, 0}, []byte{192, 0, 2, 1}, innerPacket("2001:db8:c000:201::1", "2606:4700::1", 0, 60))
	f.Add(4, byte(0x45), byte(3), []byte{0, 0}, []byte{185, 227, 121, 5}, innerPacket("2a02:58:55:500::1", "2a02:58:57:7b00::1", 2, 60))
	f.Fuzz(func(t *testing.T, which int, ihl, tos byte, frag, src, inner []byte) {
		if len(frag) != 2 || len(src) != 4 || len(inner) > 1480 {
			return
		}
		r := runs[uint(which)%uint(len(runs))]
		h := make([]byte, outerLen)
		h[0], h[1], h[6], h[7], h[8], h[9] = ihl, tos, frag[0], frag[1], 64, 41
		binary.BigEndian.PutUint16(h[2:], uint16(outerLen+len(inner)))
		copy(h[12:], src)
		binary.BigEndian.PutUint32(h[16:], r.check.Outbound().Local)
		binary.BigEndian.PutUint16(h[10:], icmp.Fold(icmp.Sum(0, h)))
		r.checkIn(t, append(h, inner...))
		if len(inner) >= innerLen {
			r.checkOut(t, inner)
		}
	})
}
