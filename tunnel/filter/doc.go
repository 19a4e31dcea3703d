// Package filter is the tunnel's part in the host's firewall: one nftables
// table of our own for IPv6, and one for IPv4 where the kernel's sit device
// decapsulates, or would answer in our place. Nobody else's table is read or written.
//
//	table ip6 genkan_tun6rd {
//		set tcp { … }  set udp { … }       # the listeners' ports
//		chain foreign { prerouting raw }   # sources of our 6rd domain that come by another interface
//		chain inside  { prerouting raw }   # sit only: jumps to the ingress table's checks on inner addresses
//		chain checks  { … }
//		chain leaving { postrouting }      # sit only: jumps to the checks on what goes out
//		chain egress  { … }
//		chain track   { prerouting raw }   # listeners' traffic fills no conntrack table
//		chain expose  { input filter }     # what the tunnel lets in
//		chain forward { forward filter }   # an edge: nothing new goes through to others
//	}
//	table ip genkan_tun6rd {
//		chain outside { prerouting raw }   # sit only: the checks on the outer packet
//		chain silent  { output filter }    # not sit, where its modules are: no "port unreachable" to our peers
//	}
//
// Every rule that drops carries the reason's name as its comment and a counter.
package filter
