package guest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/tunnel"
	"genkan/tunnel/tunneltest"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// In front of sit stand the checks as an eBPF program, where the kernel has tcx,
// with nftables behind it; elsewhere nftables alone, and the status says why.
func TestGuard(t *testing.T) {
	l := mustLab(t)
	cfg := edge()
	cfg.Datapath = tunnel.DatapathKernel
	tun, down := mustUp(t, l.Front, cfg)
	wire := mustWire(t, l)
	st := tun.Status()
	// The program knows a packet that claims to be from where it goes to; to sit
	// it is one from an address that the outer source does not have.
	want, reason := []string{"ebpf", "nftables"}, "land"
	if !slices.Contains(datapaths(t), tunnel.DatapathEBPF) {
		want, reason = want[1:], "src-spoof"
		if why := strings.Join(st.Fallback, "\n"); !strings.Contains(why, "ebpf in front of sit: ") || !strings.Contains(why, "needs Linux 6.6") {
			t.Errorf("passed over: %q, want the kernel that eBPF needs", why)
		}
	}
	if !slices.Equal(st.Checks, want) {
		t.Errorf("checks by %q, want %q", st.Checks, want)
	}
	if got := mustPrograms(t, l.Front, "eth0"); got != len(want)-1 {
		t.Errorf("%d programs on the uplink, want %d", got, len(want)-1)
	}
	own := tun.Address()
	for begun := time.Now(); tun.Status().Drops[reason] == 0; time.Sleep(10 * time.Millisecond) {
		wire(tunneltest.UDP(lab.RelayV4, lab.FrontV4, own, own, "x"))
		if time.Since(begun) > patience {
			t.Fatalf("drops %v, want one for %q", tun.Status().Drops, reason)
		}
	}

	// With another address it is another program.
	lease := netip.MustParsePrefix("203.0.113.77/24")
	mustLease(t, l, lease)
	select {
	case <-tun.Changes():
	case <-time.After(patience):
		t.Fatal("no change of the address")
	}
	before := tun.Status().Drops[reason]
	for begun := time.Now(); tun.Status().Drops[reason] == before; time.Sleep(10 * time.Millisecond) {
		wire(tunneltest.UDP(lab.RelayV4, lease.Addr(), tun.Address(), tun.Address(), "x"))
		if time.Since(begun) > patience {
			t.Fatalf("drops %v after another address, %d for %q before", tun.Status().Drops, before, reason)
		}
	}
	down()
	if got := mustPrograms(t, l.Front, "eth0"); got != 0 {
		t.Errorf("%d programs left on the uplink", got)
	}
}

// mustPrograms counts the programs on what arrives by an interface.
func mustPrograms(t *testing.T, n *lab.Namespace, name string) (count int) {
	t.Helper()
	err := n.Do(func() error {
		dev, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		r, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			count = len(r.Programs)
		}
		return err
	})
	if err != nil && slices.Contains(datapaths(t), tunnel.DatapathEBPF) {
		t.Fatal(err)
	}
	return count
}
