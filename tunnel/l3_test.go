package tunnel_test

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// An uplink without Ethernet, as PPP and other tunnels are: packets have no
// link header, and neighbours no address.
func TestPointToPointUplink(t *testing.T) {
	a, b := tunneltest.NewNS(t), tunneltest.NewNS(t)
	cable(t, a, b)
	a.Address("ppp0", netip.MustParsePrefix("192.0.2.1/24"))
	b.Address("ppp0", netip.MustParsePrefix("192.0.2.2/24"))
	cfg := tunnel.Config{
		Prefix: netip.MustParsePrefix("2001:db8::/32"), Relays: []netip.Addr{netip.MustParseAddr("192.0.2.254")},
		Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll,
	}
	near := tunneltest.Start(t, a, cfg)
	far := tunneltest.Start(t, b, cfg)
	tunneltest.Transfer(t, a, b, far.Address(), 2<<20)
	tunneltest.Transfer(t, b, a, near.Address(), 2<<20)
	if st := near.Status(); len(st.Drops) > 1 { // multicast is no matter
		t.Errorf("drops %v", st.Drops)
	}
}

// cable joins two namespaces by TUN devices named ppp0, and carries packets
// between them until the test ends.
func cable(t *testing.T, a, b *tunneltest.NS) {
	t.Helper()
	ends := [2]*os.File{tun(t, a), tun(t, b)}
	var wg sync.WaitGroup
	for i := range ends {
		wg.Go(func() {
			buf := make([]byte, 65536)
			for {
				n, err := ends[i].Read(buf)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					return
				}
				if err == nil {
					_, _ = ends[1-i].Write(buf[:n])
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, f := range ends {
			_ = f.SetReadDeadline(time.Unix(1, 0))
		}
		wg.Wait()
		for _, f := range ends {
			f.Close()
		}
	})
}

func tun(t *testing.T, ns *tunneltest.NS) *os.File {
	t.Helper()
	var f *os.File
	ns.Must(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("ppp0")
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), "ppp0")
		link, err := netlink.LinkByName("ppp0")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	return f
}
