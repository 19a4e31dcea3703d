package user

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// A sink is a receiver whose TUN device is a socket that keeps packets apart.
type sink struct {
	*receiver
	fd int
}

func newSink(t *testing.T) *sink {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	setBuffer(fds[0], unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, 8<<20)
	r := newReceiver(-1, nil, tunFile{fds[0]}, Config{Check: checker(t)}, nil, new(Counters))
	return &sink{r, fds[1]}
}

// take reads what was written: super-packets cut into segments again, and how
// many packets it was.
func (s *sink) take(t *testing.T) (segments [][]byte, writes int) {
	t.Helper()
	if drops := s.count.Drops(); len(drops) > 0 {
		t.Fatalf("drops %v", drops)
	}
	buf := make([]byte, readLen)
	for {
		n, _, err := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return segments, writes
		}
		if err != nil {
			t.Fatal(err)
		}
		writes++
		pkt := bytes.Clone(buf[vnetLen:n])
		sup, ok := parseSuper(parseVnet(buf), pkt)
		if !ok {
			t.Fatalf("the kernel would refuse %+v with %d bytes", parseVnet(buf), len(pkt))
		}
		for i := range sup.count() {
			head, payload := sup.segment(i, make([]byte, slotLen))
			sup.complete(head, payload)
			segments = append(segments, append(bytes.Clone(head), payload...))
		}
	}
}

// tcpSegment is a segment with a right checksum.
func tcpSegment(port uint16, seq uint32, flags byte, options, payload []byte) []byte {
	pkt, _ := superPacket(protoTCP, 0, 0)
	pkt = append(append(pkt, options...), payload...)
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
	binary.BigEndian.PutUint16(pkt[40:], port)
	binary.BigEndian.PutUint32(pkt[44:], seq)
	pkt[52], pkt[53] = byte(5+len(options)/4)<<4, flags
	pkt[56], pkt[57] = 0, 0
	binary.BigEndian.PutUint16(pkt[56:], ^fold(sum(pseudo(pkt[8:], len(pkt)-40, protoTCP), pkt[40:])))
	return pkt
}

func (s *sink) give(pkts ...[]byte) {
	for _, p := range pkts {
		s.hand(append(make([]byte, vnetLen), p...), vnetHdr{})
	}
	s.flushAll()
}

func TestCoalesce(t *testing.T) {
	const ack, psh, fin, syn = 0x10, 0x08, 0x01, 0x02
	full := bytes.Repeat([]byte("0123456789abcdef"), 76) // 1216
	seg := func(i int, flags byte, payload []byte) []byte {
		return tcpSegment(1000, uint32(i*len(full)), flags, nil, payload)
	}
	wrong := seg(1, ack, full)
	wrong[100] ^= 1
	stamp := func(i int, v byte) []byte {
		return tcpSegment(1000, uint32(i*len(full)), ack, []byte{1, 1, 8, 10, 0, 0, 0, v, 0, 0, 0, 0}, full)
	}
	for _, row := range []struct {
		name   string
		pkts   [][]byte
		writes int
	}{
		{"in_sequence", [][]byte{seg(0, ack, full), seg(1, ack, full), seg(2, ack, full)}, 1},
		{"last_is_short", [][]byte{seg(0, ack, full), seg(1, ack|psh, full[:7])}, 1},
		{"behind_a_short_one", [][]byte{seg(0, ack, full), seg(1, ack, full[:1000]), tcpSegment(1000, uint32(len(full)+1000), ack, nil, full)}, 2},
		{"behind_a_push", [][]byte{seg(0, ack|psh, full), seg(1, ack, full)}, 2},
		{"hole", [][]byte{seg(0, ack, full), seg(2, ack, full)}, 2},
		{"out_of_order", [][]byte{seg(1, ack, full), seg(0, ack, full)}, 2},
		{"fin", [][]byte{seg(0, ack, full), seg(1, ack|fin, full)}, 2},
		{"syn", [][]byte{seg(0, syn, nil), seg(0, ack, full)}, 2},
		{"pure_ack_between", [][]byte{seg(0, ack, full), seg(1, ack, nil), seg(1, ack, full)}, 3},
		{"wrong_checksum", [][]byte{seg(0, ack, full), wrong, seg(2, ack, full)}, 3},
		{"same_timestamp", [][]byte{stamp(0, 1), stamp(1, 1)}, 1},
		{"other_timestamp", [][]byte{stamp(0, 1), stamp(1, 2)}, 2},
		{"two_flows", [][]byte{seg(0, ack, full), tcpSegment(1001, 0, ack, nil, full), seg(1, ack, full), tcpSegment(1001, uint32(len(full)), ack, nil, full)}, 2},
		{"udp", [][]byte{innerUDP(), innerUDP()}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSink(t)
			s.give(row.pkts...)
			got, writes := s.take(t)
			if writes != row.writes {
				t.Errorf("%d packets to the stack, want %d", writes, row.writes)
			}
			checkFlows(t, row.pkts, got)
		})
	}
}

// Whatever comes, each flow leaves byte for byte as it came, in its order.
func TestCoalesceRandomly(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	s := newSink(t)
	for range 300 {
		var pkts [][]byte
		next := map[uint16]uint32{}
		for range rxBatch {
			port := uint16(r.IntN(12))
			size := []int{1200, 1200, 1200, 1200, 700, 1, 0}[r.IntN(7)]
			flags := []byte{0x10, 0x10, 0x10, 0x10, 0x18, 0x11, 0x02, 0x50}[r.IntN(8)]
			if r.IntN(20) == 0 {
				next[port] += uint32(r.IntN(3000))
			}
			pkts = append(pkts, tcpSegment(port, next[port], flags, nil, bytes.Repeat([]byte{byte(port)}, size)))
			next[port] += uint32(size)
		}
		s.give(pkts...)
		got, _ := s.take(t)
		checkFlows(t, pkts, got)
	}
}

func checkFlows(t *testing.T, want, got [][]byte) {
	t.Helper()
	byFlow := func(pkts [][]byte) map[string][][]byte {
		m := map[string][][]byte{}
		for _, p := range pkts {
			k := fmt.Sprintf("%d/%x", p[6], p[8:44])
			m[k] = append(m[k], p)
		}
		return m
	}
	w, g := byFlow(want), byFlow(got)
	for k := range w {
		if len(w[k]) != len(g[k]) {
			t.Fatalf("flow %s: %d segments arrived, want %d", k, len(g[k]), len(w[k]))
		}
		for i := range w[k] {
			if !bytes.Equal(w[k][i], g[k][i]) {
				t.Fatalf("flow %s, segment %d:\n got %x\nwant %x", k, i, g[k][i], w[k][i])
			}
		}
	}
}
