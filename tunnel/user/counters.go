package user

import (
	"sync/atomic"

	"genkan/tunnel/ingress"
)

// Counters count what passed and what did not. They outlive a Link: the
// numbers go on when the tunnel's address changes.
type Counters struct {
	RxPackets, RxBytes atomic.Uint64
	TxPackets, TxBytes atomic.Uint64

	// Reasons counts by the verdict's reason, both directions.
	Reasons [ingress.NumReasons]atomic.Uint64
	// Faults counts what no check refused but the host did.
	Faults [numFaults]atomic.Uint64
}

// A Fault is why a packet that passed all checks did not get through.
type Fault uint8

// The faults.
const (
	BadOffload     Fault = iota // a virtio_net_hdr that makes no sense
	Truncated                   // larger than any IPv4 packet
	OtherInterface              // came by an interface that does not lead to its source
	TUNWrite                    // the TUN device refused it
	Overflow                    // the kernel's receive queue was full
	TooBig                      // larger than the path towards the other end
	Unreachable                 // no IPv4 route or neighbour
	SendRefused                 // a firewall rule or a full queue
	numFaults
)

var faultNames = [numFaults]string{
	BadOffload:     "bad-offload",
	Truncated:      "truncated",
	OtherInterface: "other-interface",
	TUNWrite:       "tun-write",
	Overflow:       "rx-overflow",
	TooBig:         "tx-too-big",
	Unreachable:    "tx-unreachable",
	SendRefused:    "tx-refused",
}

// String returns the fault's name in metrics and status.
func (f Fault) String() string {
	if f >= numFaults {
		return "unknown"
	}
	return faultNames[f]
}

// Drops returns all non-zero drop counters by name.
func (c *Counters) Drops() map[string]uint64 {
	drops := make(map[string]uint64)
	for r := range c.Reasons {
		switch r := ingress.Reason(r); r {
		case ingress.Pass, ingress.Fragment:
		default:
			if n := c.Reasons[r].Load(); n > 0 {
				drops[r.String()] = n
			}
		}
	}
	for f := range c.Faults {
		if n := c.Faults[f].Load(); n > 0 {
			drops[Fault(f).String()] = n
		}
	}
	return drops
}
