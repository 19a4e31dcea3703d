package guest

import (
	"context"
	"testing"

	"github.com/vishvananda/netlink"

	"genkan/integration/lab"
	"genkan/tunnel"
)

// Between two processes, the first of which may have been killed, the kernel's
// sit carries traffic and nftables checks it. The second takes over what stands.
func TestKernelGoesOnAlone(t *testing.T) {
	l := mustLab(t)
	rc := relay()
	rc.Datapath = tunnel.DatapathUserspace
	mustUp(t, l.Relay, rc)
	before := mustSnapshot(t, l.Front)
	cfg := edge()
	cfg.Datapath, cfg.StateDir = tunnel.DatapathKernel, t.TempDir()
	up := func() (tun *tunnel.Tunnel, index int) {
		t.Helper()
		if err := l.Front.Do(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var err error
			if tun, err = tunnel.Up(ctx, cfg); err != nil {
				return err
			}
			link, err := netlink.LinkByName(tun.Interface())
			if err == nil {
				index = link.Attrs().Index
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return tun, index
	}
	first, index := up()
	checkTCP(t, l)
	during := mustSnapshot(t, l.Front)
	if err := first.Leave(); err != nil {
		t.Fatal(err)
	}
	if diff := lab.Diff(during, mustSnapshot(t, l.Front)); len(diff) != 0 {
		t.Errorf("Leave changed: %q", diff)
	}
	checkTCP(t, l)

	second, again := up()
	if again != index {
		t.Errorf("another interface, %d, was %d", again, index)
	}
	checkTCP(t, l)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := lab.Diff(before, mustSnapshot(t, l.Front)); len(diff) != 0 {
		t.Errorf("left behind: %q", diff)
	}
}
