// Package dhcp finds the parameters of a 6rd domain that a provider gives by
// DHCPv4, option 212 (RFC 5969 §7.1.1):
//
//	| 212 | length | IPv4MaskLen | 6rdPrefixLen | 6rdPrefix, 16 octets | relay, 4 octets | relay …
//
//	p, err := dhcp.Find(ctx, dhcp.Uplink{Name: "eth0", Index: 2, Local: local})
//
// Find reads what the host's own DHCP client has written down, and where that
// has no option 212, asks the server by a DHCPINFORM (RFC 2131 §4.4.3), which
// changes no lease. systemd-networkd up to this day writes its lease without
// option 212, though it was asked for: there it is always the question.
package dhcp
