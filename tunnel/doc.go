// Package tunnel gives an IPv4-only host its IPv6: a 6rd customer edge
// (RFC 5969), a configured 6in4 tunnel (RFC 4213), or the border relay that
// serves such edges.
//
//	IPv6 Internet ── border relay ══ IPv4, protocol 41 ══ uplink │ tun6rd ── listeners
//	                                                             │
//	                       one of three datapaths: kernel sit, eBPF, TUN + sockets
//
//	t, err := tunnel.Up(ctx, tunnel.Config{
//		Prefix: netip.MustParsePrefix("2001:e41::/32"),
//		Relays: []netip.Addr{netip.MustParseAddr("61.211.224.125")},
//	})
//	if err != nil { … }
//	defer t.Close()                       // takes back all that Up made, in reverse
//	t.SetPorts([]tunnel.Port{{Proto: "tcp", First: 80}})
//	err = t.Serve(ctx)                    // moves packets, heals, until ctx ends
//
// Up makes the interface, its address, the routes and the filter, and writes
// each of them down before it is made, so that Close, or the next Up after a
// crash, takes back exactly that and nothing else.
//
// The parts: sixrd is the arithmetic, ingress the one table of checks, filter
// the nftables tables, user the userspace datapath, bpf the eBPF one, icmp the
// translation of ICMPv4 errors.
package tunnel
