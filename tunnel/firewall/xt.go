package firewall

import (
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// extension answers for a match of iptables' that nftables has no words for.
func (m *matcher) extension(e *expr.Match) answer {
	switch info := e.Info.(type) {
	case *xt.Tcp:
		if m.Proto != protoTCP || info.Option != 0 {
			return no
		}
		flags := m.l4[13]&info.FlagsMask == info.FlagsCmp
		return holds(ports(m.SrcPort, info.SrcPorts, info.InvFlags&xt.TcpInvSrcPorts != 0) &&
			ports(m.DstPort, info.DstPorts, info.InvFlags&xt.TcpInvDestPorts != 0) && flags != (info.InvFlags&xt.TcpInvFlags != 0))
	case *xt.Udp:
		return holds(m.Proto == protoUDP && ports(m.SrcPort, info.SrcPorts, info.InvFlags&xt.UdpInvSrcPorts != 0) &&
			ports(m.DstPort, info.DstPorts, info.InvFlags&xt.UdpInvDestPorts != 0))
	case *xt.ConntrackMtinfo1:
		return m.conntrack(info.ConntrackMtinfoBase, uint16(info.StateMask))
	case *xt.ConntrackMtinfo2:
		return m.conntrack(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.ConntrackMtinfo3:
		return m.conntrack(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.Comment:
		return yes
	case *xt.Unknown:
		return m.raw(e.Name, *info)
	}
	return unknown
}

func ports(p uint16, within [2]uint16, invert bool) bool {
	return (within[0] <= p && p <= within[1]) != invert
}

// conntrack compares the state, which is what firewalls ask for.
func (m *matcher) conntrack(info xt.ConntrackMtinfoBase, mask uint16) answer {
	const state, alias = uint16(xt.ConntrackState), uint16(xt.ConntrackStateAlias)
	if info.MatchFlags&^(state|alias) != 0 {
		return unknown
	}
	return holds((uint32(mask)&m.State.bits() != 0) != (info.InvertFlags&state != 0))
}

// raw reads extensions by their bytes, as in linux/netfilter and
// linux/netfilter_ipv6.
func (m *matcher) raw(name string, info []byte) answer {
	switch name {
	case "comment", "limit", "hashlimit": // one packet is under every limit
		return yes
	case "rt", "frag", "ah", "esp", "hbh", "dst", "mh", "eui64": // headers that ours does not have
		return no
	case "icmp6": // struct ip6t_icmp: type, code[2], invflags
		if len(info) < 4 {
			return unknown
		}
		const any = 0xff
		is := m.Proto == protoICMPv6 && (info[0] == any || info[0] == m.Type && info[1] == 0)
		return holds(is != (info[3]&1 != 0))
	case "hl": // struct ip6t_hl_info: mode (eq, ne, lt, gt), hop_limit
		if len(info) < 2 {
			return unknown
		}
		return holds([...]bool{hopLimit == info[1], hopLimit != info[1], hopLimit < info[1], hopLimit > info[1]}[info[0]&3])
	case "multiport": // struct xt_multiport_v1: flags, count, ports[15], pflags[15], invert
		return m.multiport(info)
	}
	return unknown
}

// multiport reads up to 15 ports, of which one with its flag begins a range.
func (m *matcher) multiport(info []byte) answer {
	const most = 15
	if len(info) < 2+2*most+most+1 || info[1] > most {
		return unknown
	}
	if m.Proto != protoTCP && m.Proto != protoUDP {
		return no
	}
	port := func(i int) uint16 { return binaryutil.NativeEndian.Uint16(info[2+2*i:]) }
	in := func(p uint16) bool {
		for i := 0; i < int(info[1]); i++ {
			first, last := port(i), port(i)
			if info[2+2*most+i] != 0 && i+1 < int(info[1]) {
				i++
				last = port(i)
			}
			if first <= p && p <= last {
				return true
			}
		}
		return false
	}
	const source, destination = 0, 1
	is := (info[0] != destination && in(m.SrcPort)) || (info[0] != source && in(m.DstPort))
	return holds(is != (info[2+2*most+most] != 0))
}
