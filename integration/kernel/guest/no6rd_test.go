package guest

import (
	"errors"
	"slices"
	"testing"

	"genkan/integration/lab"
	"genkan/tunnel"

	"github.com/vishvananda/netlink"
)

// A kernel without CONFIG_IPV6_SIT_6RD takes the attributes and makes a device
// that knows nothing of the 6rd domain. Run in user-mode Linux only.
func TestNo6RD(t *testing.T) {
	TestGuestHasSit(t)
	l := mustLab(t)
	before := mustSnapshot(t, l.Front)
	cfg := edge()
	cfg.StateDir, cfg.Datapath = t.TempDir(), tunnel.DatapathKernel
	var tun *tunnel.Tunnel
	err := l.Front.Do(func() (err error) {
		tun, err = tunnel.Up(t.Context(), cfg)
		return err
	})
	if err == nil {
		t.Fatalf("the kernel datapath is up: %v", tun.Close())
	}
	const why = `create "tun6rd": this kernel's sit device has no 6rd (CONFIG_IPV6_SIT_6RD is not set)`
	if got, want := err.Error(), "tunnel: "+why; got != want || !errors.Is(err, tunnel.ErrNo6RD) {
		t.Errorf("error\n %s, want\n %s", got, want)
	}
	if diff := lab.Diff(before, mustSnapshot(t, l.Front)); len(diff) != 0 {
		t.Errorf("a failed Up left %q", diff)
	}

	cfg.Datapath = "" // auto
	tun, down := mustUp(t, l.Front, cfg)
	if got, want := tun.Datapath(), tunnel.DatapathUserspace; got != want {
		t.Errorf("auto took %q, want %q", got, want)
	}
	if got, want := tun.Status().Fallback, "kernel: "+why; len(got) != 2 || got[0] != want {
		t.Errorf("fallback %q, want two, the first %q", got, want)
	}
	if kind, err := linkKind(l.Front, tun.Interface()); kind != "tuntap" {
		t.Errorf("the interface is a %q device: %v", kind, err)
	}
	during := lab.Diff(before, mustSnapshot(t, l.Front))
	if slices.ContainsFunc(during, func(s string) bool { return len(s) > 0 && s[0] == '-' }) {
		t.Errorf("the tunnel took what was there: %q", during)
	}
	down()
	if diff := lab.Diff(before, mustSnapshot(t, l.Front)); len(diff) != 0 {
		t.Errorf("left behind: %q", diff)
	}
}

func linkKind(n *lab.Namespace, name string) (kind string, err error) {
	err = n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			kind = link.Type()
		}
		return err
	})
	return kind, err
}
