package guest

import (
	"net"
	"testing"

	"genkan/integration/lab"
	"genkan/tunnel"

	"github.com/vishvananda/netlink"
)

// A sit device of somebody else's that takes protocol 41 at our address is
// refused by its name; one that is down, or at another address, is not.
func TestForeignSit(t *testing.T) {
	const fix = `; delete it or set it down (ip link set he0 down), or write another local`
	for _, row := range []struct {
		name          string
		local, remote net.IP
		down          bool
		want          string
	}{
		{"broker", lab.FrontV4.AsSlice(), net.IPv4(198, 51, 100, 77).To4(), false,
			`tunnel: the sit device "he0" takes protocol 41 at ` + lab.FrontV4.String() + `, and the tunnel would at ` + lab.FrontV4.String() + fix},
		{"any", net.IPv4zero.To4(), net.IPv4(198, 51, 100, 77).To4(), false,
			`tunnel: the sit device "he0" takes protocol 41 at any address, and the tunnel would at ` + lab.FrontV4.String() + fix},
		{"down", lab.FrontV4.AsSlice(), nil, true, ""},
		{"elsewhere", net.IPv4(10, 0, 0, 1).To4(), nil, false, ""},
	} {
		for _, dp := range datapaths(t) {
			if row.down && dp == tunnel.DatapathKernel {
				continue // the kernel has no second device of the same ends
			}
			t.Run(row.name+"-"+dp, func(t *testing.T) {
				l := mustLab(t)
				err := l.Front.Do(func() error {
					attrs := netlink.NewLinkAttrs()
					attrs.Name = "he0"
					sit := &netlink.Sittun{LinkAttrs: attrs, Local: row.local, Remote: row.remote, Ttl: 64, Proto: 41}
					if err := netlink.LinkAdd(sit); err != nil || row.down {
						return err
					}
					return netlink.LinkSetUp(sit)
				})
				if err != nil {
					t.Fatal(err)
				}
				cfg := edge()
				cfg.StateDir, cfg.Datapath = t.TempDir(), dp
				var got string
				err = l.Front.Do(func() error {
					tun, err := tunnel.Up(t.Context(), cfg)
					if err != nil {
						got = err.Error()
						return nil
					}
					return tun.Close()
				})
				if err != nil {
					t.Fatal(err)
				}
				if got != row.want {
					t.Errorf("error\n %q, want\n %q", got, row.want)
				}
			})
		}
	}
}
