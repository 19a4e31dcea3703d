package ingress

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Unix(1_000_000_000, 0)

// pieces cuts the inner packet of p into outer fragments of at most size bytes.
func pieces(p packet, id uint16, size int) [][]byte {
	whole := p.bytes()
	var src, dst [4]byte
	copy(src[:], whole[12:])
	copy(dst[:], whole[16:])
	in := whole[outerMin:]
	var out [][]byte
	for from := 0; from < len(in); from += size {
		flags, end := uint16(from/8), len(in)
		if from+size < len(in) {
			flags, end = flags|0x2000, from+size
		}
		out = append(out, outerPacket(src, dst, p.tos, id, flags, nil, in[from:end]))
	}
	return out
}

func long() packet { return packet{next: 59, payload: bytes.Repeat([]byte("0123456789"), 40)} }

func TestReassemble(t *testing.T) {
	want := long().bytes()
	for seed := range uint64(50) { // in any order, with duplicates
		rnd := rand.New(rand.NewPCG(seed, 1))
		var frags Reassembler
		parts := pieces(long(), 7, 64)
		parts = append(parts, parts[0], parts[2])
		rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var got []byte
		for _, p := range parts {
			whole, r := frags.Add(p, epoch)
			if r == Pass {
				got = whole
				break
			}
			if r != Fragment {
				t.Fatalf("seed %d: Add = %v", seed, r)
			}
		}
		if got == nil {
			t.Fatalf("seed %d: not complete", seed)
		}
		if !bytes.Equal(got[outerMin:], want[outerMin:]) {
			t.Fatalf("seed %d: wrong bytes", seed)
		}
		if r := mustNew(t, configs["A"]).Check(got); r != Pass {
			t.Fatalf("seed %d: Check = %v", seed, r)
		}
		if frags.order.Len() != 0 || len(frags.held) != 0 || len(frags.sources) != 0 {
			t.Fatalf("seed %d: still holds %d datagrams", seed, frags.order.Len())
		}
	}
}

// TestReassembledIsJudged: what is spoofed is found though no fragment shows it.
func TestReassembledIsJudged(t *testing.T) {
	c := mustNew(t, configs["A"])
	p := long()
	p.outerSrc, p.src = ce, ceOther
	var frags Reassembler
	got := Unchecked
	for _, pkt := range pieces(p, 9, 8) { // 8 bytes: not even one address whole
		if got = c.Check(pkt); got != Fragment {
			t.Fatalf("Check = %v, want fragment", got)
		}
		if pkt, got = frags.Add(pkt, epoch); got == Pass {
			got = c.Check(pkt)
		}
		if got == FragmentLimit {
			break
		}
	}
	if got != FragmentLimit { // 55 fragments: over maxParts
		t.Errorf("55 fragments: %v, want %v", got, FragmentLimit)
	}
	for _, pkt := range pieces(p, 10, 16) {
		if pkt, got = frags.Add(pkt, epoch); got == Pass {
			got = c.Check(pkt)
		}
	}
	if got != SrcSpoof {
		t.Errorf("reassembled: %v, want %v", got, SrcSpoof)
	}
}

func TestReassembleRefuses(t *testing.T) {
	src, dst := [4]byte{198, 51, 100, 1}, [4]byte{192, 0, 2, 10}
	frag := func(offset int, more bool, data string) []byte {
		f := uint16(offset / 8)
		if more {
			f |= 0x2000
		}
		return outerPacket(src, dst, 0, 1, f, nil, []byte(data))
	}
	const a, b = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb" // 16 bytes
	for _, row := range []struct {
		name string
		want Reason
		add  [][]byte
	}{
		{"overlap", FragmentOverlap, [][]byte{frag(0, true, a), frag(8, true, b)}},
		{"overlap-before", FragmentOverlap, [][]byte{frag(8, true, a), frag(0, true, b)}},
		{"overlap-within", FragmentOverlap, [][]byte{frag(0, true, a+a), frag(8, true, b[:8])}},
		{"same-place-other-bytes", FragmentOverlap, [][]byte{frag(0, true, a), frag(0, true, b)}},
		{"duplicate", Fragment, [][]byte{frag(0, true, a), frag(0, true, a)}},
		{"late-after-overlap", FragmentOverlap, [][]byte{frag(0, true, a), frag(8, true, b), frag(24, false, b)}},
		{"beyond-end", FragmentOverlap, [][]byte{frag(16, false, a), frag(32, true, b)}},
		{"end-before-data", FragmentOverlap, [][]byte{frag(32, true, a), frag(16, false, b)}},
		{"two-ends", FragmentOverlap, [][]byte{frag(16, false, a), frag(32, false, b)}},
		{"not-of-8", OuterMalformed, [][]byte{frag(0, true, "seven b")}},
		{"empty", OuterMalformed, [][]byte{frag(16, false, "")}},
		{"too-big", FragmentLimit, [][]byte{frag(maxDatagram-8, false, a)}},
		{"ping-of-death", FragmentLimit, [][]byte{frag(65528, false, a)}},
		{"cut", OuterLength, [][]byte{frag(0, true, a)[:30]}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var frags Reassembler
			got := Unchecked
			for _, p := range row.add {
				_, got = frags.Add(p, epoch)
			}
			if got != row.want {
				t.Errorf("Add = %v, want %v", got, row.want)
			}
		})
	}
}

func TestReassembleWhole(t *testing.T) {
	var frags Reassembler
	p := packet{}.bytes()
	got, r := frags.Add(p, epoch)
	if r != Pass || !bytes.Equal(got, p) {
		t.Errorf("Add of a whole packet = %v", r)
	}
}

// TestReassembleECN: one congested fragment marks the whole (RFC 3168 §5.3).
func TestReassembleECN(t *testing.T) {
	for _, row := range []struct {
		first, second byte
		tos           byte
		want          Reason
	}{
		{0, 0, 0, Pass},
		{2, 2, 2, Pass},
		{2, 3, 3, Pass},
		{3, 2, 3, Pass},
		{0, 3, 0, ECN},
		{3, 0, 0, ECN},
	} {
		parts := pieces(long(), 3, 256)
		parts[0] = withTOS(parts[0], row.first)
		parts[1] = withTOS(parts[1], row.second)
		var frags Reassembler
		frags.Add(parts[0], epoch)
		got, r := frags.Add(parts[1], epoch)
		if r != row.want || r == Pass && got[1] != row.tos {
			t.Errorf("%d then %d: %v", row.first, row.second, r)
		}
	}
}

func withTOS(p []byte, tos byte) []byte {
	p[1], p[10], p[11] = tos, 0, 0
	s := ^sum16(p[:outerMin])
	p[10], p[11] = byte(s>>8), byte(s)
	return p
}

func TestReassembleBounds(t *testing.T) {
	var frags Reassembler
	one := func(host byte, id uint16) []byte {
		return outerPacket([4]byte{192, 0, 2, host}, [4]byte{192, 0, 2, 10}, 0, id, 0x2000, nil, make([]byte, 8))
	}
	for id := range uint16(maxPerSource + 10) {
		frags.Add(one(1, id), epoch)
	}
	if n := frags.order.Len(); n != maxPerSource {
		t.Errorf("one source holds %d datagrams, want %d", n, maxPerSource)
	}
	for host := range byte(200) {
		for id := range uint16(2) {
			frags.Add(one(host, 1000+id), epoch)
		}
	}
	if n := frags.order.Len(); n != maxDatagrams || len(frags.held) != n {
		t.Errorf("holds %d datagrams, want %d", n, maxDatagrams)
	}
	if timeout, limit := frags.Lost(); timeout != 0 || limit != maxPerSource+10+400-maxDatagrams {
		t.Errorf("Lost = %d, %d", timeout, limit)
	}
	frags.Expire(epoch.Add(reassemblyAge - 1))
	if n := frags.order.Len(); n != maxDatagrams {
		t.Errorf("%d left before the deadline", n)
	}
	frags.Expire(epoch.Add(reassemblyAge))
	if n := frags.order.Len(); n != 0 || len(frags.sources) != 0 {
		t.Errorf("%d left after the deadline", n)
	}
	if timeout, limit := frags.Lost(); timeout != maxDatagrams || limit != 0 {
		t.Errorf("Lost = %d, %d after the deadline", timeout, limit)
	}
}
