package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"

	"genkan/tunnel/ingress"
)

// The counters are one array per CPU: first one slot for each Reason, then
// these.
const (
	rxPackets = int(ingress.NumReasons) + iota
	rxBytes
	txPackets
	txBytes
	faults
	slots
)

// Counters count what the programs did. What they left to the userspace
// datapath is counted there.
type Counters struct {
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
	Reasons            [ingress.NumReasons]uint64 // drops, both directions
	Faults             uint64                     // packets that the kernel would not transform
}

func counterSpec() *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name:       "genkan_counters",
		Type:       ebpf.PerCPUArray,
		KeySize:    4,
		ValueSize:  8 * uint32(slots),
		MaxEntries: 1,
	}
}

// Counters returns the sums over all CPUs.
func (d *Datapath) Counters() (Counters, error) {
	var perCPU [][slots]uint64
	if err := d.counters.Lookup(uint32(0), &perCPU); err != nil {
		return Counters{}, fmt.Errorf("read eBPF counters: %w", err)
	}
	var sum [slots]uint64
	for _, cpu := range perCPU {
		for i := range cpu {
			sum[i] += cpu[i]
		}
	}
	c := Counters{
		RxPackets: sum[rxPackets], RxBytes: sum[rxBytes],
		TxPackets: sum[txPackets], TxBytes: sum[txBytes],
		Faults: sum[faults],
	}
	copy(c.Reasons[:], sum[:])
	return c, nil
}
