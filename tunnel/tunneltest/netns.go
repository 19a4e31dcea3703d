// Package tunneltest is what the tunnel's tests share, here and in the VM that
// has a kernel with sit: namespaces, packets, and the vectors' judge.
package tunneltest

import (
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Skip skips the test for want of something named, or fails it where
// GENKAN_REQUIRE=all says that nothing may be missing.
func Skip(tb testing.TB, missing string) {
	tb.Helper()
	if os.Getenv("GENKAN_REQUIRE") == "all" {
		tb.Fatalf("GENKAN_REQUIRE=all, but %s", missing)
	}
	tb.Skip(missing)
}

// An NS is an unnamed network namespace that vanishes with the test.
type NS struct {
	tb   testing.TB
	jobs chan func()
}

// NewNS makes a namespace with loopback up. It needs root.
func NewNS(tb testing.TB) *NS {
	tb.Helper()
	if os.Geteuid() != 0 {
		Skip(tb, "network namespaces need root")
	}
	n := &NS{tb: tb, jobs: make(chan func())}
	made := make(chan error)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread, and the namespace with it, ends here
		h, err := netns.New()
		if err == nil {
			err = h.Close()
		}
		made <- err
		for job := range n.jobs {
			job()
		}
	}()
	if err := <-made; err != nil {
		tb.Fatal("new network namespace:", err)
	}
	tb.Cleanup(func() {
		close(n.jobs)
		<-done
	})
	n.Must(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return n
}

// Do runs f on the namespace's thread. f may open sockets and start programs,
// which belong to the namespace; it must not call FailNow.
func (n *NS) Do(f func()) {
	done := make(chan struct{})
	n.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Must runs f in the namespace and fails the test on an error.
func (n *NS) Must(f func() error) {
	n.tb.Helper()
	var err error
	n.Do(func() { err = f() })
	if err != nil {
		n.tb.Fatal(err)
	}
}

// Veth connects two namespaces by a pair of interfaces with the given names
// and addresses, both up.
func Veth(a *NS, nameA string, addrA netip.Prefix, b *NS, nameB string, addrB netip.Prefix) {
	a.tb.Helper()
	ready := make(chan netns.NsHandle)
	go b.Do(func() {
		h, _ := netns.Get()
		ready <- h
	})
	peer := <-ready
	defer peer.Close()
	a.Must(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = nameA
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(peer)})
	})
	// No link-local addresses of the kernel's: they come when they like, and
	// differ each time.
	a.Sysctl("net/ipv6/conf/"+nameA+"/addr_gen_mode", "1")
	b.Sysctl("net/ipv6/conf/"+nameB+"/addr_gen_mode", "1")
	a.Address(nameA, addrA)
	b.Address(nameB, addrB)
	if addrA.Addr().Is6() { // a router asks for its neighbours from a link-local address
		a.Address(nameA, netip.MustParsePrefix("fe80::a/64"))
		b.Address(nameB, netip.MustParsePrefix("fe80::b/64"))
	}
	a.waitRunning(nameA)
	b.waitRunning(nameB)
}

// waitRunning waits until the kernel has noticed that both ends are up.
func (n *NS) waitRunning(name string) {
	n.tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var state netlink.LinkOperState
		n.Must(func() error {
			link, err := netlink.LinkByName(name)
			if err == nil {
				state = link.Attrs().OperState
			}
			return err
		})
		if state == netlink.OperUp {
			return
		}
		if time.Now().After(deadline) {
			n.tb.Fatalf("%s is %s after 10 s", name, state)
		}
	}
}

// Address gives an interface an address, without duplicate address detection,
// and sets it up.
func (n *NS) Address(name string, addr netip.Prefix) {
	n.tb.Helper()
	n.Must(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr.String())
		if err != nil {
			return err
		}
		if addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if addr.Addr().Is6() && !addr.Addr().IsLinkLocalUnicast() {
		n.awaitLocal(addr.Addr())
	}
}

// awaitLocal waits until the kernel has made the route to an address of its own.
func (n *NS) awaitLocal(addr netip.Addr) {
	n.tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		local := false
		n.Do(func() {
			routes, err := netlink.RouteGet(addr.AsSlice())
			local = err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
		})
		if local {
			return
		}
		if time.Now().After(deadline) {
			n.tb.Fatalf("%s is not local after 10 s", addr)
		}
	}
}

// Route adds a route by a gateway.
func (n *NS) Route(dst netip.Prefix, via netip.Addr) {
	n.tb.Helper()
	n.Must(func() error {
		d, err := netlink.ParseIPNet(dst.String())
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: d, Gw: via.AsSlice()})
	})
}

// Sysctl writes a value below /proc/sys.
func (n *NS) Sysctl(key, value string) {
	n.tb.Helper()
	n.Must(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
}
