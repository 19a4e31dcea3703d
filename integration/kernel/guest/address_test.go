package guest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"

	"github.com/vishvananda/netlink"
)

// The uplink's address changes, as a new lease does it, while the tunnel is up:
// address, device, routes and filter follow, and nothing of the old ones nor,
// at the end, of the new ones stays.
func TestAddressChange(t *testing.T) {
	for _, dp := range datapaths(t) {
		t.Run(dp, func(t *testing.T) {
			l := mustLab(t)
			ec, rc := edge(), relay()
			ec.Datapath = dp
			mustUp(t, l.Relay, rc)
			tun, down := mustUp(t, l.Front, ec)
			checkTCP(t, l)
			for _, to := range []string{"203.0.113.77/24", "203.0.113.78/24"} {
				lease := netip.MustParsePrefix(to)
				old := tun.Address()
				mustLease(t, l, lease)
				select {
				case c := <-tun.Changes():
					if c.Local != lease.Addr() || c.Address == old {
						t.Fatalf("change %+v, want local %s and a new address", c, lease.Addr())
					}
				case <-time.After(patience):
					t.Fatalf("%s: no change", to)
				}
				v4 := lease.Addr().As4()
				want := netip.MustParseAddr(fmt.Sprintf("2001:e41:%x%02x:%x%02x::1", v4[0], v4[1], v4[2], v4[3]))
				if got := tun.Address(); got != want {
					t.Fatalf("address %s, want %s", got, want)
				}
				checkTCPTo(t, l, want)
				checkNothingOf(t, l.Front, strings.TrimSuffix(old.String(), "1"))
			}
			if got := tun.Datapath(); got != dp {
				t.Errorf("datapath %q after the changes", got)
			}
			down()
			checkNothingOf(t, l.Front, "tun6rd", "genkan_", "2001:e41:")
		})
	}
}

// mustLease gives the front another address in place of those of its uplink.
// The default route goes with the old one.
func mustLease(t *testing.T, l *lab.Lab, lease netip.Prefix) {
	t.Helper()
	err := l.Front.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if err := netlink.AddrDel(link, &a); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = l.Front.AddAddr("eth0", lease)
	}
	if err == nil {
		err = l.Front.AddRoute("eth0", netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func checkNothingOf(t *testing.T, n *lab.Namespace, texts ...string) {
	t.Helper()
	for _, line := range mustSnapshot(t, n) {
		if slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(line, s) }) {
			t.Errorf("%s: left behind: %q", n.Name, line)
		}
	}
}
