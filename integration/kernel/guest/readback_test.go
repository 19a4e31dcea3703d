package guest

import (
	"net/netip"
	"testing"

	"genkan/integration/lab"
	"genkan/tunnel"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel's own word on the device that the kernel datapath made.
func TestKernelReadBack(t *testing.T) {
	for _, row := range []struct {
		name                string
		maskLen             int
		prefixLen, relayLen uint16
		relay               netip.Addr
	}{
		{"whole", 0, 32, 0, netip.IPv4Unspecified()},
		{"shared-8", 8, 32, 8, netip.MustParseAddr("203.0.0.0")},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := mustLab(t)
			cfg := edge()
			cfg.Datapath, cfg.IPv4MaskLen, cfg.TTL = tunnel.DatapathKernel, row.maskLen, 64
			if row.maskLen > 0 { // a relay that shares the bits
				cfg.Relays = []netip.Addr{netip.MustParseAddr("203.0.113.1")}
			}
			tun, _ := mustUp(t, l.Front, cfg)
			data := sitData(t, l.Front, tun.Interface())
			check := func(what string, got, want any) {
				if got != want {
					t.Errorf("%s: %v, want %v", what, got, want)
				}
			}
			prefix := lab.SixRD.Addr().As16()
			check("prefix", string(data[nl.IFLA_IPTUN_6RD_PREFIX]), string(prefix[:]))
			check("prefix length", nl.NativeEndian().Uint16(data[nl.IFLA_IPTUN_6RD_PREFIXLEN]), row.prefixLen)
			check("relay prefix", netip.AddrFrom4([4]byte(data[nl.IFLA_IPTUN_6RD_RELAY_PREFIX])), row.relay)
			check("relay prefix length", nl.NativeEndian().Uint16(data[nl.IFLA_IPTUN_6RD_RELAY_PREFIXLEN]), row.relayLen)
			check("local", netip.AddrFrom4([4]byte(data[nl.IFLA_IPTUN_LOCAL])), lab.FrontV4)
			check("ttl", data[nl.IFLA_IPTUN_TTL][0], byte(64))
			check("protocol", data[nl.IFLA_IPTUN_PROTO][0], byte(unix.IPPROTO_IPV6))
		})
	}
}

// sitData are the attributes of a sit device, by type.
func sitData(t *testing.T, n *lab.Namespace, name string) map[uint16][]byte {
	t.Helper()
	data := map[uint16][]byte{}
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(link.Attrs().Index)
		req.AddData(msg)
		answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		if err != nil {
			return err
		}
		return walk(answers[0][unix.SizeofIfInfomsg:], []uint16{unix.IFLA_LINKINFO, nl.IFLA_INFO_DATA}, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(data) == 0 {
		t.Fatalf("%q has no link data", name)
	}
	return data
}

// walk goes down the nested attributes of path and takes what it finds there.
func walk(b []byte, path []uint16, into map[uint16][]byte) error {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		switch {
		case len(path) == 0:
			into[a.Attr.Type] = a.Value
		case a.Attr.Type&^unix.NLA_F_NESTED == path[0]:
			return walk(a.Value, path[1:], into)
		}
	}
	return nil
}
