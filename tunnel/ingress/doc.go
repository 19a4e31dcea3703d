// Package ingress decides which protocol-41 packets a tunnel takes in and
// which it sends out. It is pure: bytes in, a Reason out; no sockets, no clock,
// no counters of its own.
//
//	uplink ── outer IPv4 ──▶ Check ── Pass ──▶ strip 20+ bytes, ECN ──▶ TUN
//	                           │ Fragment ──▶ Reassembler ──▶ Check again
//	                           └ any other Reason: drop, count by reason
//
//	TUN ── inner IPv6 ──▶ Egress ── Pass, IPv4 destination ──▶ uplink
//	                           └ any other Reason: drop, count, Reason.Answer
//
// The checks on addresses are one table (Rules), in the order in which they
// apply. The userspace datapath walks it; nftables rules and eBPF programs are
// generated from it, so that no datapath lets in what another drops. The checks
// on what follows the addresses (extension headers, ICMPv6, fragments) are in
// inner.go.
//
// They come from RFC 5969 §9.2 and §12, RFC 4213 §3.6, RFC 6324, RFC 5095,
// RFC 6040, RFC 7112, RFC 8201 and RFC 5722; Reason's constants say which.
package ingress
