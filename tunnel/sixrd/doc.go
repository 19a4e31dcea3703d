// Package sixrd is the arithmetic of RFC 5969 (6rd): which IPv6 prefix a
// customer edge has by its IPv4 address, and back. It is pure: no sockets, no
// clock, no text beyond error messages.
//
//	 0              o              o+32-m            64             128
//	+---------------+----------------+---------------+---------------+
//	|  6rd prefix   | IPv4, without  |   subnet ID   | interface ID  |
//	|   (o bits)    | the m shared   |               |               |
//	+---------------+----------------+---------------+---------------+
//	|<------ delegated prefix ------>|
//
//	d := sixrd.Domain{Prefix: netip.MustParsePrefix("2001:e41::/32")}
//	p, err := d.Delegated(netip.MustParseAddr("203.0.113.5")) // 2001:e41:cb00:7105::/64
//	v4, ok := d.Embedded(p.Addr())                            // 203.0.113.5, true
package sixrd
