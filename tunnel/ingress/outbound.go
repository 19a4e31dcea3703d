package ingress

import "genkan/tunnel/sixrd"

// An Outbound is what Egress knows, for generating programs that do the same.
type Outbound struct {
	Kind       Kind
	Local      uint32     // our IPv4 address
	Gateway    uint32     // where what is outside of the 6rd domain goes; 0 for a Relay
	Bits       sixrd.Bits // the 6rd domain; not for Configured
	Own        []Pattern  // sources that may leave; a Relay lets all leave
	Silent     []Pattern  // sources and destinations that are dropped without answer
	Unroutable []Pattern  // outer destinations that nobody has
}

// Outbound returns what Egress knows. It shares the Checker's patterns: do not
// modify them.
func (c *Checker) Outbound() Outbound {
	o := Outbound{Kind: c.kind, Local: c.local, Gateway: c.gateway, Bits: c.bits, Own: c.own, Silent: c.silent}
	o.Unroutable = append(o.Unroutable, martians...)
	for _, b := range c.bcasts {
		o.Unroutable = append(o.Unroutable, Pattern{Lo: uint64(b), LoMask: 0xffffffff})
	}
	return o
}
