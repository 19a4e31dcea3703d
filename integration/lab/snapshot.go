package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Snapshot describes all that a program can leave behind in the namespace's
// network, one thing a line, sorted: links, addresses, routes, rules, queueing
// disciplines, nftables, and the switches below /proc/sys/net/ipv[46]/conf.
func (n *Namespace) Snapshot() ([]string, error) {
	var lines []string
	for _, part := range []func() ([]string, error){n.links, n.addrs, n.routes, n.rules, n.tables, n.sysctls} {
		more, err := part()
		// The kernel says so where something changed amid the answer.
		for range 9 {
			if !errors.Is(err, netlink.ErrDumpInterrupted) {
				break
			}
			more, err = part()
		}
		if err != nil {
			return nil, fmt.Errorf("lab: namespace %q: snapshot: %w", n.Name, err)
		}
		lines = append(lines, more...)
	}
	slices.Sort(lines)
	return lines, nil
}

func (n *Namespace) links() ([]string, error) {
	links, err := n.nl.LinkList()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, l := range links {
		a := l.Attrs()
		lines = append(lines, fmt.Sprintf("link %s %s mtu %d %s", a.Name, l.Type(), a.MTU, a.Flags))
		qdiscs, err := n.nl.QdiscList(l)
		if err != nil {
			return nil, err
		}
		for _, q := range qdiscs {
			lines = append(lines, fmt.Sprintf("qdisc %s %s %x", a.Name, q.Type(), q.Attrs().Parent))
		}
	}
	return lines, nil
}

func (n *Namespace) addrs() ([]string, error) {
	addrs, err := n.nl.AddrList(nil, unix.AF_UNSPEC)
	var lines []string
	for _, a := range addrs {
		lines = append(lines, fmt.Sprintf("address %s link %d", a.IPNet, a.LinkIndex))
	}
	return lines, err
}

func (n *Namespace) routes() ([]string, error) {
	routes, err := n.nl.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	var lines []string
	for _, r := range routes {
		lines = append(lines, fmt.Sprintf("route %v via %v link %d table %d type %d metric %d", r.Dst, r.Gw, r.LinkIndex, r.Table, r.Type, r.Priority))
	}
	return lines, err
}

func (n *Namespace) rules() ([]string, error) {
	var lines []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := n.nl.RuleList(family)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			lines = append(lines, fmt.Sprintf("rule %d %s", family, r))
		}
	}
	return lines, nil
}

func (n *Namespace) tables() ([]string, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.fd)))
	if err != nil {
		return nil, err
	}
	tables, err := conn.ListTables()
	var lines []string
	for _, t := range tables {
		lines = append(lines, fmt.Sprintf("nft table %d %s", t.Family, t.Name))
	}
	return lines, err
}

func (n *Namespace) sysctls() ([]string, error) {
	var lines []string
	err := n.Do(func() error {
		for _, family := range []string{"ipv4", "ipv6"} {
			files, err := filepath.Glob("/proc/sys/net/" + family + "/conf/*/*")
			if err != nil {
				return err
			}
			for _, f := range files {
				value, err := os.ReadFile(f)
				if err != nil {
					continue // flush and stable_secret cannot be read
				}
				lines = append(lines, fmt.Sprintf("sysctl %s %s", strings.TrimPrefix(f, "/proc/sys/"), strings.TrimSpace(string(value))))
			}
		}
		return nil
	})
	return lines, err
}

// Diff lists the lines that only one of two snapshots has: "-" before, "+" after.
func Diff(before, after []string) []string {
	var diff []string
	for _, b := range before {
		if _, found := slices.BinarySearch(after, b); !found {
			diff = append(diff, "- "+b)
		}
	}
	for _, a := range after {
		if _, found := slices.BinarySearch(before, a); !found {
			diff = append(diff, "+ "+a)
		}
	}
	return diff
}
