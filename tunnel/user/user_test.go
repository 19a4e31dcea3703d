package user

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"genkan/tunnel/ingress"
	"genkan/tunnel/sixrd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slowSum is RFC 1071 word by word.
func slowSum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// same compares two ones' complement sums, of which 0 and 0xffff are one.
func same(a, b uint16) bool { return a%0xffff == b%0xffff }

func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32()) | byte(r.Uint32()>>8) // many 0xff
		}
		if got, want := fold(sum(0, b)), slowSum(b); !same(got, want) {
			t.Fatalf("sum of %x = %#04x, want %#04x", b, got, want)
		}
		head := n / 2 &^ 1
		if got, want := fold(sum(sum(0, b[:head]), b[head:])), slowSum(b); !same(got, want) {
			t.Fatalf("sum of %x in two parts = %#04x, want %#04x", b, got, want)
		}
	}
}

// superPacket is a TCP or UDP packet of n payload bytes as the TUN device
// gives it, with its checksum left to be done.
func superPacket(proto byte, n, gsoSize int) ([]byte, vnetHdr) {
	head := 40 + 20
	hdr := vnetHdr{flags: vnetNeedsCsum, gso: gsoTCPv6, csumStart: 40, csumOffset: 16, gsoSize: uint16(gsoSize)}
	if proto == protoUDP {
		head, hdr.csumOffset, hdr.gso = 40+8, 6, gsoUDPL4
	}
	if gsoSize == 0 {
		hdr.gso = gsoNone
	}
	pkt := make([]byte, head+n)
	pkt[0], pkt[6], pkt[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(pkt[4:], uint16(head-40+n))
	src, dst := netip.MustParseAddr("2001:db8:c000:20a::1").As16(), netip.MustParseAddr("2606:4700::1").As16()
	copy(pkt[8:], src[:])
	copy(pkt[24:], dst[:])
	binary.BigEndian.PutUint16(pkt[40:], 5555)
	binary.BigEndian.PutUint16(pkt[42:], 80)
	if proto == protoTCP {
		binary.BigEndian.PutUint32(pkt[44:], 0xfffffff0) // wraps
		pkt[52], pkt[53] = 0x50, 0x80|0x10|0x08|0x01     // CWR ACK PSH FIN
	} else {
		binary.BigEndian.PutUint16(pkt[44:], uint16(8+n))
	}
	for i := range n {
		pkt[head+i] = byte(i * 7)
	}
	binary.BigEndian.PutUint16(pkt[40+int(hdr.csumOffset):], fold(pseudo(pkt[8:], head-40+n, proto)))
	return pkt, hdr
}

// Each segment is a packet of its own: lengths, checksum, sequence numbers,
// flags; and their payloads together are the payload.
func TestSegments(t *testing.T) {
	for _, row := range []struct {
		proto       byte
		n, gso, cut int
	}{
		{protoTCP, 0, 0, 1}, {protoTCP, 1000, 0, 1}, {protoTCP, 1000, 1220, 1}, {protoTCP, 1220, 1220, 1},
		{protoTCP, 1221, 1220, 2}, {protoTCP, 60000, 1220, 50}, {protoTCP, 333, 1, 333},
		{protoUDP, 0, 0, 1}, {protoUDP, 1001, 0, 1}, {protoUDP, 5000, 1000, 5}, {protoUDP, 5001, 1001, 5},
	} {
		pkt, hdr := superPacket(row.proto, row.n, row.gso)
		sup, ok := parseSuper(hdr, bytes.Clone(pkt))
		if !ok {
			t.Fatalf("%+v: not taken", row)
		}
		if sup.count() != row.cut {
			t.Errorf("%+v: %d segments", row, sup.count())
		}
		var all []byte
		for i := range sup.count() {
			head, payload := sup.segment(i, make([]byte, slotLen))
			sup.complete(head, payload)
			seg := append(bytes.Clone(head), payload...)
			if got := int(binary.BigEndian.Uint16(seg[4:])); got != len(seg)-40 {
				t.Fatalf("%+v segment %d: length %d of %d", row, i, got, len(seg)-40)
			}
			check := binary.BigEndian.AppendUint32(bytes.Clone(seg[8:40]), uint32(len(seg)-40))
			if got := slowSum(append(append(check, 0, 0, 0, row.proto), seg[40:]...)); got != 0xffff {
				t.Fatalf("%+v segment %d: checksum wrong, sum %#04x", row, i, got)
			}
			headers := 48
			if row.proto == protoTCP {
				headers = 60
				checkTCP(t, seg, i, i == sup.count()-1, row.gso)
			} else if got := int(binary.BigEndian.Uint16(seg[44:])); got != len(seg)-40 {
				t.Fatalf("%+v segment %d: UDP length %d", row, i, got)
			}
			all = append(all, seg[headers:]...)
		}
		if !bytes.Equal(all, pkt[len(pkt)-row.n:]) {
			t.Errorf("%+v: the payload changed", row)
		}
	}
}

func checkTCP(t *testing.T, seg []byte, i int, last bool, gso int) {
	t.Helper()
	if got, want := binary.BigEndian.Uint32(seg[44:]), uint32(0xfffffff0+i*gso); got != want {
		t.Errorf("segment %d: sequence number %d, want %d", i, got, want)
	}
	flags := seg[53]
	if end := flags&0x09 != 0; end != last {
		t.Errorf("segment %d: FIN, PSH in flags %#02x; last %v", i, flags, last)
	}
	if cwr := flags&0x80 != 0; cwr != (i == 0) {
		t.Errorf("segment %d: CWR in flags %#02x", i, flags)
	}
}

// What a virtio_net_hdr claims is not believed beyond the packet.
func FuzzParseSuper(f *testing.F) {
	for _, proto := range []byte{protoTCP, protoUDP} {
		pkt, hdr := superPacket(proto, 3000, 1000)
		b := make([]byte, vnetLen)
		hdr.put(b)
		f.Add(b, pkt)
	}
	f.Fuzz(func(t *testing.T, h, pkt []byte) {
		if len(h) < vnetLen || len(pkt) < 40 {
			return
		}
		sup, ok := parseSuper(parseVnet(h), pkt)
		if !ok {
			return
		}
		total := 0
		for i := range sup.count() {
			head, payload := sup.segment(i, make([]byte, slotLen))
			sup.complete(head, payload)
			total += len(payload)
		}
		if sup.hdr.gsoSize > 0 && total != len(pkt)-sup.head {
			t.Fatalf("%d payload bytes of %d", total, len(pkt)-sup.head)
		}
	})
}

func FuzzStripped(f *testing.F) {
	f.Add([]byte{1, 4, 0x70, 0, 0xc4, 4, 74, 0, 16, 0}, 34, 1000)
	f.Fuzz(func(t *testing.T, h []byte, n, size int) {
		if len(h) < vnetLen || n < 0 || n > 124 || size < 40 || size > 65535 {
			return
		}
		out, ok := parseVnet(h).stripped(n, size)
		if !ok {
			return
		}
		if out.flags&vnetNeedsCsum != 0 && int(out.csumStart)+int(out.csumOffset)+2 > size || int(out.hdrLen) > size {
			t.Fatalf("%+v points outside of %d bytes", out, size)
		}
	})
}

func checker(t testing.TB) *ingress.Checker {
	t.Helper()
	c, err := ingress.New(ingress.Config{Kind: ingress.Edge, Local: netip.MustParseAddr("192.0.2.10"),
		Domain: sixrd.Domain{Prefix: netip.MustParsePrefix("2001:db8::/32"), Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The path of a packet allocates nothing.
func TestNoAllocations(t *testing.T) {
	tun := tunFile{mustNull(t)}
	var count Counters
	check := checker(t)
	small := newOutlet(-1, nil, &count)
	now := time.Now()
	dst := [4]byte{198, 51, 100, 1}
	known := &hops{ask: make(chan [4]byte, 1), known: map[[4]byte]hop{dst: {index: 1, mtu: 1500, asked: now}}}
	cfg := Config{Check: check, Local: netip.MustParseAddr("192.0.2.10"), TTL: 64, MTU: 1280}
	tx := newSender(tun, nil, cfg, &count, exit{small: small, large: small, packet: small, hops: known, paths: new(paths)})
	pkt, hdr := superPacket(protoTCP, 60000, 1220)
	buf := make([]byte, vnetLen+len(pkt))
	hdr.put(buf)
	copy(buf[vnetLen:], pkt)
	for _, what := range []string{"packet socket", "raw socket"} {
		if n := testing.AllocsPerRun(100, func() {
			tx.forward(buf, now)
			small.n = 0 // as after a flush
		}); n != 0 {
			t.Errorf("sending by the %s allocates %v times", what, n)
		}
		delete(known.known, dst)
	}

	rx := newReceiver(-1, nil, tun, cfg, nil, &count)
	outer := append(make([]byte, 20), innerUDP()...)
	outer[0], outer[8], outer[9] = 0x45, 64, 41
	binary.BigEndian.PutUint16(outer[2:], uint16(len(outer)))
	copy(outer[12:], []byte{198, 51, 100, 1, 192, 0, 2, 10})
	binary.BigEndian.PutUint16(outer[10:], ^slowSum(outer[:20]))
	frame := append(make([]byte, vnetLen+14), outer...)
	if n := testing.AllocsPerRun(100, func() {
		copy(rx.frames[0], frame)
		rx.msgs[0].Len = uint32(len(frame))
		putAux(rx.aux[0][:], 14)
		rx.msgs[0].Hdr.SetControllen(auxLen)
		rx.frame(0)
	}); n != 0 {
		t.Errorf("receiving allocates %v times", n)
	}
	if got := count.RxPackets.Load(); got == 0 || len(count.Drops()) > 0 {
		t.Errorf("%d packets received, drops %v", got, count.Drops())
	}
}
