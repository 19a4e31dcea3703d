package ingress

// A Reason is the verdict on one packet: Pass, or why not. The zero Reason is
// Unchecked, which is a drop. Reasons are small integers for use as the index
// of an array of NumReasons counters.
type Reason uint8

// The verdicts of Check, Egress, Reassembler and of package icmp.
const (
	// Unchecked is the zero value: nobody has looked at the packet.
	Unchecked Reason = iota
	// Pass lets the packet in (Check) or out (Egress).
	Pass
	// Fragment is an outer fragment: give it to a Reassembler, and the whole
	// packet to Check again. Nothing is decided by a part of a packet.
	Fragment

	// NotTunnel is not protocol 41, or not IPv4.
	NotTunnel
	// Tiny has no room for the headers that it announces.
	Tiny
	// OuterMalformed has a bad outer header length, checksum or option.
	OuterMalformed
	// SourceRoute has a loose or strict source route option (RFC 7126 §4.3, §4.4).
	SourceRoute
	// OuterLength announces more outer bytes than there are.
	OuterLength
	// OuterDestination is not sent to our IPv4 address (RFC 4213 §3.6).
	OuterDestination
	// OuterMartian comes from no unicast address (RFC 4213 §3.6, §4).
	OuterMartian
	// OuterSelf claims to come from our own IPv4 address (RFC 6324).
	OuterSelf

	// BadVersion is not IPv6 inside.
	BadVersion
	// BadLength announces more inner bytes than there are.
	BadLength
	// InnerMartian has a source that never crosses the Internet (RFC 4213 §3.6,
	// RFC 4291 §2.5, RFC 3964 §5.3): unspecified, loopback, IPv4-mapped, ...
	InnerMartian
	// InnerMartianDst has such a destination.
	InnerMartianDst
	// Land has one address as source and destination.
	Land
	// Loop is addressed to a tunnel endpoint through another tunnel (RFC 6324 §3).
	Loop
	// NotMine is for somebody else: we are no open relay (RFC 5969 §12, RFC 4891).
	NotMine
	// OwnSource claims to come from our own prefix, or from our IPv4 address by
	// 6to4 or ISATAP.
	OwnSource
	// SrcSpoof is a 6rd source that does not embed the outer source (RFC 5969 §9.2, §12).
	SrcSpoof
	// NotRelay is from outside of the 6rd domain, but not through a border relay
	// (RFC 5969 §12); for configured tunnels, not from the remote (RFC 4213 §3.6).
	NotRelay

	// TooManyHeaders has more than MaxHeaders extension headers, or options in
	// one without bound.
	TooManyHeaders
	// BadHeader has an extension header that is cut short or out of place.
	BadHeader
	// RoutingHeader has a routing header with segments left (RFC 5095, RFC 8754).
	RoutingHeader
	// FirstFragment is a first inner fragment without its whole header chain
	// (RFC 7112 §5): what it carries cannot be judged.
	FirstFragment
	// Nested has yet another IP packet inside: no nested decapsulation (RFC 2473 §4.1.1).
	Nested
	// NeighborDiscovery is on-link signalling, which a 6rd link does not have
	// (RFC 5969 §8): ND, RA, redirect, MLD.
	NeighborDiscovery
	// UDPNoChecksum is UDP without a checksum (RFC 8200 §8.1).
	UDPNoChecksum
	// PacketTooBig announces an impossible MTU (RFC 8201 §4).
	PacketTooBig
	// ForeignQuote is an ICMPv6 error about a packet that we did not send (RFC 5927).
	ForeignQuote
	// ECN was marked congested outside, but cannot carry the mark inside (RFC 6040 §4.2).
	ECN

	// FragmentOverlap ended a datagram with overlapping fragments (RFC 5722).
	FragmentOverlap
	// FragmentLimit is over a bound of the Reassembler.
	FragmentLimit
	// FragmentTimeout is a datagram that was not complete in time.
	FragmentTimeout

	// ICMPMalformed is an ICMPv4 error cut short, or with a bad checksum.
	ICMPMalformed
	// ICMPForeign is an ICMPv4 error about a packet that we did not send (RFC 5927).
	ICMPForeign
	// ICMPIgnored is an ICMPv4 error that means nothing to the inner sender.
	ICMPIgnored
	// ICMPLimited is an answer that was not given: too many (RFC 4443 §2.4 f).
	ICMPLimited

	// EgressMartian must not leave: multicast, link-local, unspecified, by a
	// relay what would come back to it through another tunnel (RFC 6324 §3.1), ...
	EgressMartian
	// EgressSource is not from our prefix: the other end would drop it (RFC 5969 §12).
	EgressSource
	// EgressUnroutable embeds an IPv4 address that nobody can have.
	EgressUnroutable
	// EgressLoop would come back to us (RFC 6324).
	EgressLoop

	// NumReasons is the number of reasons, for arrays of counters.
	NumReasons
)

var reasonNames = [NumReasons]string{
	Unchecked:         "unchecked",
	Pass:              "pass",
	Fragment:          "fragment",
	NotTunnel:         "not-tunnel",
	Tiny:              "tiny",
	OuterMalformed:    "outer-malformed",
	SourceRoute:       "source-route",
	OuterLength:       "outer-length",
	OuterDestination:  "outer-destination",
	OuterMartian:      "outer-martian",
	OuterSelf:         "outer-self",
	BadVersion:        "bad-version",
	BadLength:         "bad-length",
	InnerMartian:      "inner-martian",
	InnerMartianDst:   "inner-martian-destination",
	Land:              "land",
	Loop:              "loop",
	NotMine:           "not-mine",
	OwnSource:         "own-source",
	SrcSpoof:          "src-spoof",
	NotRelay:          "not-relay",
	TooManyHeaders:    "too-many-headers",
	BadHeader:         "bad-header",
	RoutingHeader:     "routing-header",
	FirstFragment:     "first-fragment",
	Nested:            "nested",
	NeighborDiscovery: "neighbor-discovery",
	UDPNoChecksum:     "udp-no-checksum",
	PacketTooBig:      "packet-too-big",
	ForeignQuote:      "foreign-quote",
	ECN:               "ecn",
	FragmentOverlap:   "fragment-overlap",
	FragmentLimit:     "fragment-limit",
	FragmentTimeout:   "fragment-timeout",
	ICMPMalformed:     "icmp-malformed",
	ICMPForeign:       "icmp-foreign",
	ICMPIgnored:       "icmp-ignored",
	ICMPLimited:       "icmp-limited",
	EgressMartian:     "egress-martian",
	EgressSource:      "egress-source",
	EgressUnroutable:  "egress-unroutable",
	EgressLoop:        "egress-loop",
}

// String returns the name of the reason in metrics, logs and status.
func (r Reason) String() string {
	if r >= NumReasons {
		return "unknown"
	}
	return reasonNames[r]
}

// Answer returns the ICMPv6 type and code with which the sender of an egress
// packet dropped for r is told, and whether it is told at all (RFC 4443 §3.1,
// RFC 4213 §3.4). What came in by the tunnel is never answered.
func (r Reason) Answer() (typ, code byte, ok bool) {
	switch r {
	case EgressSource:
		return 1, 5, true // source address failed ingress/egress policy
	case EgressUnroutable, EgressLoop:
		return 1, 3, true // address unreachable
	}
	return 0, 0, false
}
