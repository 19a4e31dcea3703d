// Package icmp is what a tunnel end has to say about packets that cannot go
// through: it turns ICMPv4 errors about our protocol-41 packets into ICMPv6
// errors for the inner sender (RFC 4213 §3.2.2, §3.4), builds packet-too-big,
// and clamps the MSS of TCP, for paths on which no ICMP arrives. It is pure.
//
//	router on the IPv4 path ── ICMPv4 error ──▶ Parse ──▶ Translator.Answer ──▶ TUN ──▶ inner sender
//	                                                         └ mtu of the path to one outer destination
//
// An error is believed only if it quotes a packet that we could have sent, and
// answered only at a bounded rate.
package icmp
