// Package lab makes a small Internet of network namespaces on this machine:
// an IPv6 side and an IPv4 side that meet only at a 6rd border relay, a front
// that has nothing but an IPv4 uplink, and a backend that cannot speak IPv6.
//
//	client6 ──────── relay ──────── isp ──────── front ──────── backend
//	IPv6 only   IPv6 │ IPv4     IPv4 router      Genkan         IPv4 only
//	2001:db8:6::10   │ 198.51.100.1  │           203.0.113.5    10.0.0.10
//	                 │               │           10.0.0.1
//	         border relay of      client4        6rd: 2001:e41:cb00:7105::1
//	         2001:e41::/32        IPv4 only
//	                              192.0.2.10
//
// The tests and the "genkan demo" command build the same lab. It needs root
// and no other program: links, addresses and routes are made by netlink. The
// namespaces and the programs in them end with the process that made the lab,
// even when that is killed. Those of the demo have names below /run/netns, so
// that "ip netns exec" can enter them.
//
// Addresses are those set aside for documentation (RFC 5737, RFC 3849),
// except the 6rd prefix: it has to lie outside 2001:db8::/32 for the border
// relay to tell its domain from the IPv6 Internet.
package lab
