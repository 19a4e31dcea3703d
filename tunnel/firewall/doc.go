// Package firewall foretells what the rules of others on this host do to a
// packet: nftables rules, and what iptables-nft and ufw make of theirs.
//
//	rules, err := firewall.Read()
//	v := rules.Judge(firewall.Packet{Hook: firewall.Input, In: "tun6rd", Src: client, Dst: own, Proto: 6, DstPort: 80})
//	if v.Result == firewall.Dropped {
//		fmt.Println("the chain", v.Chain, "drops it")    // "ip6 filter INPUT"
//	}
//
// It follows the kernel: all chains of a hook in the order of their
// priorities, their rules, jumps and policies. A match that it cannot read is
// taken not to hold; where such a rule might have let the packet in, the
// verdict is Unsure.
package firewall
