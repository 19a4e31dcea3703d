package tunnel_test

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// Of several relays one that answers is taken, and another when it stops.
func TestRelayFailover(t *testing.T) {
	t.Parallel()
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll}
	p := tunneltest.NewPair(t, cfg, cfg)
	// Another relay at 192.0.2.1, with another link to the ISP.
	second := tunneltest.NewNS(t)
	tunneltest.Veth(second, "up0", netip.MustParsePrefix("192.0.2.1/24"), p.ISP, "relay1", netip.MustParsePrefix("192.0.2.2/24"))
	second.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.2"))
	relay := cfg
	relay.Role, relay.Prefix, relay.Local = tunnel.RoleRelay, netip.MustParsePrefix("2001:e41::/32"), netip.MustParseAddr("192.0.2.1")
	tunneltest.Start(t, second, relay)

	p.StopEdge()
	cfg.Prefix = relay.Prefix
	dead, first, other := netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")
	cfg.Relays = []netip.Addr{dead, first}
	edge, stop := tunneltest.StartStop(t, p.EdgeNS, cfg)
	if got := edge.Status().Relay; got != first {
		t.Errorf("relay %s, want %s: the other one is dead", got, first)
	}
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)
	stop()

	cfg.Relays = []netip.Addr{other, first}
	edge = tunneltest.Start(t, p.EdgeNS, cfg)
	gone, link := other, "relay1"
	if edge.Status().Relay == first {
		gone, link = first, "relay0"
	}
	p.ISP.Must(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
	begun := time.Now()
	for edge.Status().Relay == gone {
		if time.Since(begun) > tunneltest.TransferTimeout {
			t.Fatalf("relay %s in use though it is gone", gone)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Log("another relay after", time.Since(begun).Round(time.Millisecond))
}

// Of several relays that answer the nearest is taken, wherever it stands in the
// list.
func TestNearestRelay(t *testing.T) {
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll}
	p := tunneltest.NewPair(t, cfg, cfg)
	p.StopEdge()
	near, far := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")
	ns := tunneltest.NewNS(t)
	tunneltest.Veth(ns, "up0", netip.PrefixFrom(far, 24), p.ISP, "relay1", netip.MustParsePrefix("192.0.2.2/24"))
	ns.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.2"))
	answered := startFarRelay(t, ns, far)

	cfg.Prefix, cfg.Relays = netip.MustParsePrefix("2001:e41::/32"), []netip.Addr{far, near}
	edge := tunneltest.Start(t, p.EdgeNS, cfg)
	if got := edge.Status().Relay; got != near {
		t.Errorf("relay %s, want %s: it is nearer", got, near)
	}
	if answered() == 0 {
		t.Error("the other relay was not asked: there was no choice")
	}
}

// startFarRelay answers probes as a relay does that is a quarter of a second away, and
// tells how many it has answered.
func startFarRelay(t *testing.T, ns *tunneltest.NS, at netip.Addr) (answered func() int64) {
	t.Helper()
	var conn net.PacketConn
	ns.Must(func() (err error) {
		conn, err = net.ListenPacket("ip4:41", at.String())
		return err
	})
	var count atomic.Int64
	var pending sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			back := bytes.Clone(buf[:n])
			pending.Add(1)
			time.AfterFunc(250*time.Millisecond, func() {
				defer pending.Done()
				if _, err := conn.WriteTo(back, from); err == nil {
					count.Add(1)
				}
			})
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
		pending.Wait()
	})
	return count.Load
}
