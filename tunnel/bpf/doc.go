// Package bpf is the tunnel's eBPF datapath: two programs without state of
// their own, generated for one configuration with its addresses as immediates.
//
//	IPv6 stack ── TUN egress [encap] ── IPv4 header, FIB, neighbour ──▶ uplink
//	           ── TUN ◀── [decap] ── checks, header off ── uplink ingress
//
// The programs do what is common and simple: whole packets without IPv4 options
// or IPv6 extension headers. What they drop breaks a rule of package ingress,
// which they are generated from. Everything else they leave to the stack, and so
// to the userspace datapath (package user), which stays open on the same TUN
// device and judges by the same rules: fragments, options, extension headers,
// ICMPv6 errors, malformed packets, and what leaves with a wrong source.
//
// Neither program fragments, sends errors, or knows path MTUs: encap clears DF up
// to 1280 bytes, clamps the MSS, and above that the userspace datapath translates
// what routers say (package icmp), for the sender to heed.
//
// In front of a kernel device stands the guard: decap's checks alone. What it
// leaves to the stack is for another filter to judge.
//
// Attached by tcx (Linux 6.6) and pinned in a bpffs, they go on forwarding while
// the daemon restarts.
package bpf
