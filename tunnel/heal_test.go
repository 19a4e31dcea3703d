package tunnel_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"genkan/tunnel"
	"genkan/tunnel/filter"
	"genkan/tunnel/tunneltest"
)

// healed is how soon a tunnel has to be whole again.
const healed = 5 * time.Second

func pair(t *testing.T) *tunneltest.Pair {
	t.Helper()
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll}
	return tunneltest.NewPair(t, cfg, cfg)
}

// whole fails the test unless the client reaches the edge within healed.
func whole(t *testing.T, p *tunneltest.Pair, what string) {
	t.Helper()
	begun := time.Now()
	var err error
	for time.Since(begun) < healed {
		if err = tunneltest.TryReach(p.Client, p.EdgeNS, p.Edge.Address(), time.Second); err == nil {
			t.Logf("%s: whole after %v", what, time.Since(begun).Round(time.Millisecond))
			return
		}
	}
	t.Fatalf("%s: %v after %v", what, err, healed)
}

func deleteLink(ns *tunneltest.NS, name string) {
	ns.Must(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
}

func TestHealsDeletedInterface(t *testing.T) {
	p := pair(t)
	for i := range 5 {
		whole(t, p, "before")
		deleteLink(p.EdgeNS, "tun6rd")
		whole(t, p, fmt.Sprint("deletion ", i))
	}
	if st := p.Edge.Status(); st.Remade != 5 {
		t.Errorf("remade %d times, want 5", st.Remade)
	}
}

func TestHealsWhatIsTaken(t *testing.T) {
	p := pair(t)
	link := func() netlink.Link {
		l, err := netlink.LinkByName("tun6rd")
		if err != nil {
			t.Error(err)
		}
		return l
	}
	for _, row := range []struct {
		what string
		take func() error
	}{
		{"down", func() error { return netlink.LinkSetDown(link()) }},
		{"address", func() error {
			a, _ := netlink.ParseAddr(p.Edge.Address().String() + "/128")
			return netlink.AddrDel(link(), a)
		}},
		{"default route", func() error {
			dst, _ := netlink.ParseIPNet("::/0")
			return netlink.RouteDel(&netlink.Route{LinkIndex: link().Attrs().Index, Dst: dst})
		}},
		{"filter", func() error { return filter.Remove("tun6rd") }},
	} {
		p.EdgeNS.Must(row.take)
		whole(t, p, row.what)
	}
	for deadline := time.Now().Add(healed); !strings.Contains(p.EdgeNS.Snapshot(), "table 10 genkan_tun6rd"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the filter's table is not there again")
		}
	}
}

// The prefix, the address, the routes and the filter follow our IPv4 address;
// the old prefix is refused after.
func TestFollowsIPv4Address(t *testing.T) {
	p := pair(t)
	whole(t, p, "before")
	uplink := func(ns *tunneltest.NS, f func(netlink.Link, *netlink.Addr) error, addr string) {
		ns.Must(func() error {
			link, err := netlink.LinkByName("up0")
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(addr)
			if err != nil {
				return err
			}
			return f(link, a)
		})
	}
	for i := range 3 {
		from, to := fmt.Sprintf("203.0.113.%d/24", 5+i), fmt.Sprintf("203.0.113.%d/24", 6+i)
		old := p.Edge.Address()
		begun := time.Now()
		uplink(p.EdgeNS, netlink.AddrDel, from)
		uplink(p.EdgeNS, netlink.AddrAdd, to)
		p.EdgeNS.Must(func() error { // deleting the primary address takes the route by it, as a lease does
			dst, err := netlink.ParseIPNet("0.0.0.0/0")
			if err != nil {
				return err
			}
			return netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: netip.MustParseAddr("203.0.113.1").AsSlice()})
		})
		select {
		case c := <-p.Edge.Changes():
			want := netip.MustParsePrefix(to).Addr()
			if c.Local != want || c.Address != p.Edge.Address() || c.Address == old {
				t.Errorf("change %+v, want local %s and a new address", c, want)
			}
		case <-time.After(healed):
			t.Fatalf("no change after %v", healed)
		}
		t.Logf("%s: changed after %v", to, time.Since(begun).Round(time.Millisecond))
		whole(t, p, to)
		if strings.Contains(p.EdgeNS.Snapshot(), old.String()) {
			t.Errorf("the old address %s stands:\n%s", old, p.EdgeNS.Snapshot())
		}
	}
}

func TestUplinkDownAndUp(t *testing.T) {
	p := pair(t)
	whole(t, p, "before")
	set := func(f func(netlink.Link) error) {
		p.EdgeNS.Must(func() error {
			link, err := netlink.LinkByName("up0")
			if err != nil {
				return err
			}
			return f(link)
		})
	}
	address := p.Edge.Address()
	set(netlink.LinkSetDown)
	if err := tunneltest.TryReach(p.Client, p.EdgeNS, address, silence); err == nil {
		t.Error("reachable though the uplink is down")
	}
	set(netlink.LinkSetUp)
	p.EdgeNS.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1"))
	whole(t, p, "uplink up")
	if p.Edge.Address() != address {
		t.Errorf("address %s, was %s", p.Edge.Address(), address)
	}
}

// A default route that somebody makes while the tunnel is up does not keep it
// from healing.
func TestHealsBesideForeignDefaultRoute(t *testing.T) {
	p := pair(t)
	whole(t, p, "before")
	p.EdgeNS.Must(func() error {
		dst, err := netlink.ParseIPNet("::/0")
		if err != nil {
			return err
		}
		lo, err := netlink.LinkByName("up0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: lo.Attrs().Index, Priority: 2048})
	})
	deleteLink(p.EdgeNS, "tun6rd")
	whole(t, p, "deletion")
}

// Who switches IPv6 off on the tunnel reads so, and not of a capability that we
// have.
func TestSaysThatIPv6IsOff(t *testing.T) {
	var log lockedBuffer
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll, Log: slog.New(slog.NewTextHandler(&log, nil))}
	p := tunneltest.NewPair(t, cfg, cfg)
	whole(t, p, "before")
	p.EdgeNS.Sysctl("net/ipv6/conf/tun6rd/disable_ipv6", "1")
	const want = "IPv6 is switched off on tun6rd; write sysctl -w net.ipv6.conf.tun6rd.disable_ipv6=0"
	await(t, func() int64 { return int64(strings.Count(log.String(), "to be made again")) }, 1)
	if got := log.String(); !strings.Contains(got, want) || strings.Contains(got, "CAP_NET_ADMIN") {
		t.Errorf("the log:\n%s", got)
	}
	whole(t, p, "switched off")
}

// A lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// foreignLink makes a bridge of our name, as somebody else would.
func foreignLink() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "tun6rd"
	return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
}

// An interface that somebody puts in the place of ours is his: we wait until
// the name is free again.
func TestForeignLinkInOurPlace(t *testing.T) {
	p := pair(t)
	whole(t, p, "before")
	deleteLink(p.EdgeNS, "tun6rd")
	p.EdgeNS.Must(foreignLink)
	remade := func() int64 { return int64(p.Edge.Status().Remade) }
	await(t, remade, 1)
	if got := p.EdgeNS.Snapshot(); !strings.Contains(got, "link tun6rd bridge") || strings.Contains(got, p.Edge.Address().String()) {
		t.Errorf("our address is on a foreign interface, or that is gone:\n%s", got)
	}
	deleteLink(p.EdgeNS, "tun6rd")
	whole(t, p, "the name free again")
	deleteLink(p.EdgeNS, "tun6rd")
	p.EdgeNS.Must(foreignLink)
	await(t, remade, 2)
	p.StopEdge()
	if got := p.EdgeNS.Snapshot(); !strings.Contains(got, "link tun6rd bridge") {
		t.Errorf("Close has deleted a foreign interface:\n%s", got)
	}
}

// So it is where nobody has had the time to notice.
func TestCloseSparesForeignLink(t *testing.T) {
	ns, cfg := front(t)
	tun := up(t, ns, cfg)
	deleteLink(ns, "tun6rd")
	ns.Must(foreignLink)
	if err := tun.Close(); err != nil {
		t.Error(err)
	}
	if got := ns.Snapshot(); !strings.Contains(got, "link tun6rd bridge") || strings.Contains(got, "table 10") {
		t.Errorf("after Close:\n%s", got)
	}
}

// Why better datapaths were passed over is said once each, however often they
// are tried.
func TestFallbackSaidOnce(t *testing.T) {
	cfg := tunnel.Config{Expose: tunnel.ExposeAll}
	p := tunneltest.NewPair(t, cfg, cfg)
	for range 2 {
		wide := p.Edge.Config()
		wide.Datapath = tunnel.DatapathAuto
		wide.MTU = 1490 // does not fit the uplink: nothing for eBPF
		if err := p.Edge.Apply(t.Context(), wide); err != nil {
			t.Fatal(err)
		}
		named := p.Edge.Config()
		named.MTU, named.Datapath = 1280, tunnel.DatapathEBPF
		if err := p.Edge.Apply(t.Context(), named); err != nil {
			t.Log("no eBPF here:", err)
		}
	}
	said := make(map[string]bool)
	for _, why := range p.Edge.Status().Fallback {
		name, _, _ := strings.Cut(why, ":")
		if said[name] {
			t.Errorf("%s is passed over twice in %q", name, p.Edge.Status().Fallback)
		}
		said[name] = true
	}
}
