package tunnel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// refuseForeignSit is an error where a sit device of somebody else's takes
// protocol 41 at our IPv4 address too. The kernel would deliver to it what the
// userspace datapath delivers as well, and our checks would drop what is for it.
func (c Config) refuseForeignSit(local netip.Addr) error {
	links, err := netlink.LinkList()
	if err != nil {
		return explain("list interfaces", capAdmin, err)
	}
	for _, l := range links {
		sit, ok := l.(*netlink.Sittun)
		if !ok || sit.Name == c.Interface || sit.Flags&net.FlagUp == 0 {
			continue
		}
		at := sit.Local.String()
		if sit.Local == nil || sit.Local.IsUnspecified() {
			at = "any address"
		} else if !sit.Local.Equal(local.AsSlice()) {
			continue
		}
		return fmt.Errorf("tunnel: the sit device %q takes protocol 41 at %s, and the tunnel would at %s; delete it or set it down (ip link set %s down), or write another local",
			sit.Name, at, local, sit.Name)
	}
	return nil
}
