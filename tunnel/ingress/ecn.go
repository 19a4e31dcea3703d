package ingress

// Decapsulate returns the traffic class of the inner packet after
// decapsulation, from the outer TOS octet and the inner traffic class as they
// arrived, and whether the packet may live (RFC 6040 §4.2, figure 4). The inner
// DSCP stays; the outer one is the path's own business.
func Decapsulate(outerTOS, innerTC byte) (byte, bool) {
	const notECT, ect1, ce = 0, 1, 3
	outer, inner := outerTOS&3, innerTC&3
	switch {
	case inner == notECT && outer == ce:
		return innerTC, false
	case inner == notECT || inner == ce:
		return innerTC, true
	case outer == ce || outer == ect1:
		return innerTC&^3 | outer, true
	}
	return innerTC, true
}

// Encapsulate returns the outer TOS octet for an inner traffic class: all of it,
// which is RFC 6040's normal mode for ECN and RFC 2983's uniform model for DSCP.
func Encapsulate(innerTC byte) byte { return innerTC }
