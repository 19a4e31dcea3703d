package tunnel_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

func stream(t *testing.T, from, to *tunneltest.NS, addr netip.Addr, d time.Duration) float64 {
	var l net.Listener
	to.Must(func() (err error) { l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String()); return })
	defer l.Close()
	got := make(chan int64)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- 0
			return
		}
		buf := make([]byte, 1<<20)
		var n int64
		for {
			k, err := c.Read(buf)
			n += int64(k)
			if err != nil {
				break
			}
		}
		got <- n
	}()
	var c net.Conn
	from.Must(func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return })
	begin := time.Now()
	buf := make([]byte, 1<<20)
	for time.Since(begin) < d {
		if _, err := c.Write(buf); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	c.Close()
	n := <-got
	return float64(n) * 8 / time.Since(begin).Seconds() / 1e9
}

func TestZZBench(t *testing.T) {
	cfg := tunnel.Config{Datapath: tunnel.DatapathEBPF, MTU: 1480, Expose: tunnel.ExposeAll}
	p := tunneltest.NewPair(t, cfg, cfg)
	q := tunneltest.NewPair(t, cfg, cfg)
	for _, x := range []*tunneltest.Pair{p, q} {
		// native IPv6 over the same veths
		pf := netip.MustParsePrefix
		x.EdgeNS.Address("up0", pf("fd00:1::5/64"))
		x.ISP.Address("edge0", pf("fd00:1::1/64"))
		x.RelayNS.Address("up0", pf("fd00:2::1/64"))
		x.ISP.Address("relay0", pf("fd00:2::2/64"))
		x.ISP.Sysctl("net/ipv6/conf/all/forwarding", "1")
		x.RelayNS.Route(pf("fd00:1::/64"), netip.MustParseAddr("fd00:2::2"))
		x.RelayNS.Sysctl("net/ipv4/ip_forward", "1")
		x.RelayNS.Address("net0", pf("10.3.0.1/24"))
		x.Client.Address("net0", pf("10.3.0.2/24"))
		x.Client.Route(pf("0.0.0.0/0"), netip.MustParseAddr("10.3.0.1"))
		x.ISP.Route(pf("10.3.0.0/24"), netip.MustParseAddr("198.51.100.1"))
		x.Client.Address("net0", pf("fd00:3::2/64"))
		x.RelayNS.Address("net0", pf("fd00:3::1/64"))
		x.ISP.Route(pf("fd00:3::/64"), netip.MustParseAddr("fd00:2::1"))
		x.EdgeNS.Route(pf("fd00:3::/64"), netip.MustParseAddr("fd00:1::1"))
	}
	wireLike(t, q.EdgeNS, "up0")
	wireLike(t, q.RelayNS, "up0")
	wireLike(t, q.ISP, "edge0", "relay0")
	wireLike(t, q.Client, "net0")
	wireLike(t, q.RelayNS, "net0")
	a := netip.MustParseAddr
	for name, x := range map[string]*tunneltest.Pair{"offload": p, "wire": q} {
		for i := range 4 {
			d := 1500 * time.Millisecond
			v4 := stream(t, x.EdgeNS, x.Client, a("10.3.0.2"), d)
			v6 := 1.0
			e := stream(t, x.EdgeNS, x.Client, x.ClientAddr, d)
			fmt.Printf("%s %d: v4 %.2f v6 %.2f ebpf %.2f Gb/s; e/v6 %.2f e/v4 %.2f\n", name, i, v4, v6, e, e/v6, e/v4)
		}
	}
}
