package tunnel_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func TestForeignThingsStay(t *testing.T) {
	t.Run("interface", func(t *testing.T) {
		ns, cfg := front(t)
		ns.Must(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "tun6rd"
			return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
		})
		want := `tunnel: an interface "tun6rd" exists (bridge) and is not ours; it is not touched: choose another name, or use --replace to delete it`
		if got := errText(upError(ns, cfg)); got != want {
			t.Errorf("error\n %s, want\n %s", got, want)
		}
		if !strings.Contains(ns.Snapshot(), "link tun6rd bridge") {
			t.Error("the foreign interface is gone")
		}
		if _, err := plan(ns, cfg); errText(err) != want {
			t.Errorf("the plan says\n %v, want\n %s", err, want)
		}
		cfg.Replace = true
		if lines, err := plan(ns, cfg); err != nil || lines[0] != "ip link del tun6rd" {
			t.Errorf("the plan is %q, %v", lines, err)
		}
		if err := upError(ns, cfg); err != nil {
			t.Error("with Replace:", err)
		}
	})
	t.Run("uplink", func(t *testing.T) {
		ns, cfg := front(t)
		before := ns.Snapshot()
		cfg.Interface, cfg.Replace = "up0", true
		want := `tunnel: the interface "up0" (veth) has the IPv4 address 203.0.113.5; such a one is never replaced: choose another name`
		if _, err := plan(ns, cfg); errText(err) != want {
			t.Errorf("the plan says\n %v, want\n %s", err, want)
		}
		if got := errText(upError(ns, cfg)); got != want {
			t.Errorf("error\n %s, want\n %s", got, want)
		}
		if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
			t.Errorf("left (+) or taken (-):\n%s", diff)
		}
	})
	t.Run("port of a bridge", func(t *testing.T) {
		ns, cfg := front(t)
		ns.Must(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "br0"
			bridge := &netlink.Bridge{LinkAttrs: attrs}
			attrs.Name = "port0"
			port := &netlink.Veth{LinkAttrs: attrs, PeerName: "peer0"}
			if err := errors.Join(netlink.LinkAdd(bridge), netlink.LinkAdd(port)); err != nil {
				return err
			}
			return netlink.LinkSetMaster(port, bridge)
		})
		cfg.Replace = true
		for name, above := range map[string]string{"port0": "br0", "peer0": "port0"} {
			cfg.Interface = name
			want := fmt.Sprintf("tunnel: the interface %q (veth) carries %q; such a one is never replaced: choose another name", name, above)
			if got := errText(upError(ns, cfg)); got != want {
				t.Errorf("error\n %s, want\n %s", got, want)
			}
		}
	})
	t.Run("first default route", func(t *testing.T) {
		ns, cfg := front(t)
		ns.Must(func() error {
			link, err := netlink.LinkByName("up0")
			if err != nil {
				return err
			}
			dst, err := netlink.ParseIPNet("::/0")
			if err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: link.Attrs().Index, Priority: 1})
		})
		cfg.Replace = true
		want := `tunnel: an IPv6 default route exists (default dev up0 metric 1), and no metric comes before that one; remove it, or make it again with a larger metric`
		if _, err := plan(ns, cfg); errText(err) != want {
			t.Errorf("the plan says\n %v, want\n %s", err, want)
		}
	})
	t.Run("default route", func(t *testing.T) {
		ns, cfg := front(t)
		ns.Address("up0", netip.MustParsePrefix("2001:db8::2/64"))
		ns.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8::1"))
		want := `tunnel: an IPv6 default route exists (default via 2001:db8::1 dev up0 metric 1024); it is not touched: remove it, or use --replace to put the tunnel before it`
		if got := errText(upError(ns, cfg)); got != want {
			t.Errorf("error\n %s, want\n %s", got, want)
		}
		before := ns.Snapshot()
		cfg.Replace = true
		tun := up(t, ns, cfg)
		ns.Do(func() {
			routes, err := netlink.RouteGet(netip.MustParseAddr("2606:4700::1").AsSlice())
			if err != nil || len(routes) == 0 {
				t.Error("route:", err)
				return
			}
			if link, err := netlink.LinkByIndex(routes[0].LinkIndex); err != nil || link.Attrs().Name != "tun6rd" {
				t.Errorf("the IPv6 Internet is reached by %v, not by the tunnel", link)
			}
		})
		if err := tun.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
			t.Errorf("Close left (+) or took (-):\n%s", diff)
		}
	})
}
