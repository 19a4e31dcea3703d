package filter

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ours begins the names of the tables that this package makes.
const ours = "genkan_"

// othersTrack reports whether rules that are not ours ask conntrack about IPv6
// packets, as "ct state established accept" does. They know nothing of what we
// keep out of it: the answers of our listeners would be dropped by the policy
// behind that rule, and with them the packet-too-big that is related to nothing.
func othersTrack() (bool, error) {
	// iptables' old tables cannot be read here: that there is one is enough.
	if names, err := os.ReadFile("/proc/net/ip6_tables_names"); err == nil && len(names) > 0 {
		return true, nil
	}
	conn, err := dial()
	if err != nil {
		return false, err
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyIPv6} {
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return false, err
		}
		for _, c := range chains {
			if strings.HasPrefix(c.Table.Name, ours) {
				continue
			}
			rules, err := conn.GetRules(c.Table, c)
			if err != nil {
				return false, err
			}
			if slices.ContainsFunc(rules, asksConntrack) {
				return true, nil
			}
		}
	}
	return false, nil
}

func asksConntrack(r *nftables.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		switch e := e.(type) {
		case *expr.Ct:
			return !e.SourceRegister
		case *expr.Match: // of iptables
			return e.Name == "conntrack" || e.Name == "state"
		}
		return false
	})
}

// generation is a number that is another one after each change of nftables.
func generation() (uint32, error) {
	const getGen, genID = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, 1
	req := nl.NewNetlinkRequest(getGen, 0)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return 0, err
		}
		for _, a := range attrs {
			if a.Attr.Type == genID && len(a.Value) == 4 {
				return binary.BigEndian.Uint32(a.Value), nil
			}
		}
	}
	return 0, errors.New("nftables tells no generation")
}

// Outdated reports whether the rules of others ask conntrack now and did not
// when the tables were made, or the other way round: make them again. What cannot
// be seen is taken to be as it was.
func (f *Filter) Outdated() bool {
	if !f.stateful || !f.listeners {
		return false
	}
	now, err := generation()
	if err != nil || now == f.seen {
		return false
	}
	others, err := othersTrack()
	if err != nil {
		return false
	}
	f.seen = now
	return others != f.others
}
