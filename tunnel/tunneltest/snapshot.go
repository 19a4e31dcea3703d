package tunneltest

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// Snapshot is what a namespace consists of, one line each: interfaces,
// addresses, routes, tables of the firewall, sysctls that a tunnel may touch.
func (n *NS) Snapshot() string {
	n.tb.Helper()
	var lines []string
	n.Must(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			lines = append(lines, fmt.Sprintf("link %s %s mtu %d", l.Attrs().Name, l.Type(), l.Attrs().MTU))
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				lines = append(lines, fmt.Sprintf("addr %s %s", l.Attrs().Name, a.IPNet))
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for _, r := range routes {
			lines = append(lines, "route "+r.String())
		}
		forwarding, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/forwarding")
		if err != nil {
			return err
		}
		lines = append(lines, "forwarding "+strings.TrimSpace(string(forwarding)))
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTables()
		for _, t := range tables {
			lines = append(lines, fmt.Sprintf("table %d %s", t.Family, t.Name))
		}
		return err
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
