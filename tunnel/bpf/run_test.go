package bpf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"genkan/tunnel/ingress"
	"genkan/tunnel/sixrd"
)

const tcxRedirect = 7

// configs are the receiving sides of the corpus, and the relay of A.
func configs() map[string]ingress.Config {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	a := ingress.Config{
		Kind:       ingress.Edge,
		Local:      addr("192.0.2.10"),
		Broadcasts: []netip.Addr{addr("192.0.2.255")},
		Domain:     sixrd.Domain{Prefix: prefix("2001:db8::/32"), Relays: []netip.Addr{addr("198.51.100.1")}},
		MTU:        1480,
	}
	relay := a
	relay.Kind, relay.Local, relay.Broadcasts, relay.NoHairpin = ingress.Relay, addr("198.51.100.1"), nil, true
	return map[string]ingress.Config{
		"A": a,
		"B": {
			Kind:  ingress.Edge,
			Local: addr("10.100.100.1"),
			Domain: sixrd.Domain{Prefix: prefix("2001:db8::/32"), IPv4MaskLen: 8, Common: addr("10.0.0.0"),
				Relays: []netip.Addr{addr("10.0.0.1")}},
		},
		"C": {
			Kind:   ingress.Configured,
			Local:  addr("192.0.2.10"),
			Remote: addr("198.51.100.1"),
			Own:    []netip.Prefix{prefix("2001:db8:100::2/128")},
		},
		"relay": relay,
		"odd": { // nothing on a byte's boundary
			Kind:  ingress.Edge,
			Local: addr("185.227.123.123"),
			Domain: sixrd.Domain{Prefix: prefix("2a02:58:54::/46"), IPv4MaskLen: 22, Common: addr("185.227.123.123"),
				Relays: []netip.Addr{addr("185.227.120.1")}},
		},
	}
}

// A run executes the programs in the kernel without attaching them.
type run struct {
	check *ingress.Checker
	d     *Datapath
	encap *ebpf.Program
	decap *ebpf.Program
	guard *ebpf.Program
}

func startRun(t testing.TB, cfg ingress.Config) *run {
	t.Helper()
	return startRunRoutes(t, cfg, nil)
}

func startRunRoutes(t testing.TB, cfg ingress.Config, routes []Route) *run {
	t.Helper()
	check, err := ingress.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(counterSpec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	c := Config{Check: check, TTL: 64, TUN: 1, Uplink: 1, LinkHeader: 14, Routes: routes, MTU: 1480, tunHeader: 14}
	mustLoad := func(name string, ins asm.Instructions) *ebpf.Program {
		p, err := load(name, ins)
		if err != nil {
			t.Fatalf("load %s: %+v", name, err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	return &run{
		check: check,
		d:     &Datapath{counters: m},
		encap: mustLoad("encap", encap(c, m.FD())),
		decap: mustLoad("decap", decap(c, m.FD())),
		guard: mustLoad("guard", guard(c, m.FD())),
	}
}

// in runs a program on an outer packet and returns its verdict and the frame.
func (r *run) in(t testing.TB, prog *ebpf.Program, outer []byte) (int32, []byte) {
	t.Helper()
	frame := append(make([]byte, 12, 14+len(outer)), 8, 0) // to 00:00:00:00:00:00, which is ours
	frame = append(frame, outer...)
	opts := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	ret, err := prog.Run(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return int32(ret), opts.DataOut
}

// checkIn compares what the program does with an outer packet with what
// package ingress says of it.
func (r *run) checkIn(t testing.TB, outer []byte) ingress.Reason {
	t.Helper()
	want := r.check.Check(outer)
	first := r.mustCount(t)
	guarded, whole := r.in(t, r.guard, outer)
	before := r.mustCount(t)
	ret, frame := r.in(t, r.decap, outer)
	after := r.mustCount(t)
	// The guard drops and counts what decap does, and touches nothing.
	switch {
	case (guarded == tcxDrop) != (ret == tcxDrop) || guarded != tcxDrop && guarded != tcxNext:
		t.Errorf("the guard returns %d where decap returns %d\n%x", guarded, ret, outer)
	case !bytes.HasPrefix(whole[14:], outer):
		t.Errorf("the guard makes\n%x of\n%x", whole[14:], outer)
	case guarded == tcxDrop:
		first.Reasons[want]++
	}
	if first != before {
		t.Errorf("the guard counts\n%v\nwant\n%v\n%x", before, first, outer)
	}
	switch ret {
	case tcxNext: // the userspace datapath judges, by Check
		if after != before {
			t.Errorf("left to the stack, but counted\n%x", outer)
		}
		return ingress.Unchecked
	case tcxDrop:
		if want == ingress.Pass || want == ingress.Fragment {
			t.Errorf("dropped, Check = %v\n%x", want, outer)
		}
		before.Reasons[want]++
		if after != before {
			t.Errorf("counted as\n%v\nwant %v\n%x", after.Reasons, want, outer)
		}
	case tcxRedirect:
		if want != ingress.Pass {
			t.Fatalf("passed, Check = %v\n%x", want, outer)
		}
		inner := bytes.Clone(outer[20:binary.BigEndian.Uint16(outer[2:])])
		tc, _ := ingress.Decapsulate(outer[1], inner[0]<<4|inner[1]>>4)
		inner[0], inner[1] = inner[0]&0xf0|tc>>4, inner[1]&0x0f|tc<<4
		if got := frame[14:min(len(frame), 14+len(inner))]; !bytes.Equal(got, inner) {
			t.Errorf("inside is\n%x\nwant\n%x", got, inner)
		}
		if after.RxPackets != before.RxPackets+1 || after.RxBytes != before.RxBytes+uint64(len(inner)) {
			t.Errorf("counted %d packets, %d bytes", after.RxPackets-before.RxPackets, after.RxBytes-before.RxBytes)
		}
	default:
		t.Errorf("returns %d", ret)
	}
	return want
}

func (r *run) mustCount(t testing.TB) Counters {
	t.Helper()
	c, err := r.d.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type vector struct {
	id, config, verdict, reason string
	packets                     [][]byte
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("../ingress/testdata/tunnel-packets.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []vector
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		f := strings.Split(line, "\t")
		v := vector{id: f[0], config: f[1], verdict: f[3], reason: f[4]}
		for _, h := range strings.Split(f[2], ",") {
			b, err := hex.DecodeString(h)
			if err != nil {
				t.Fatalf("%s: %v", v.id, err)
			}
			v.packets = append(v.packets, b)
		}
		rows = append(rows, v)
	}
	return rows
}

// TestVectorsRun: the programs agree with package ingress on the whole corpus,
// and decide all that needs no closer look themselves.
func TestVectorsRun(t *testing.T) {
	requireBPF(t)
	decided := 0
	runs := map[string]*run{}
	for name, cfg := range configs() {
		runs[name] = startRun(t, cfg)
	}
	for _, row := range vectors(t) {
		t.Run(row.id, func(t *testing.T) {
			for _, p := range row.packets {
				if len(p) < 20 {
					continue // no frame that Linux would take for IPv4
				}
				r := runs[row.config].checkIn(t, p)
				if r != ingress.Unchecked {
					decided++
				}
				t.Log(r, "-", row.reason)
			}
		})
	}
	if decided < 30 {
		t.Errorf("the programs decided %d packets only", decided)
	}
}
