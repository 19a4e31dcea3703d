package tunnel_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
)

// Without a capability the error names it, and the line that grants it.
func TestMissingCapability(t *testing.T) {
	const grant = "; in a systemd unit: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"
	for _, row := range []struct {
		datapath string
		missing  []int
		want     string
	}{
		{tunnel.DatapathUserspace, []int{unix.CAP_NET_ADMIN}, `tunnel: create "tun6rd": operation not permitted (needs CAP_NET_ADMIN)` + grant},
		{tunnel.DatapathUserspace, []int{unix.CAP_NET_RAW}, `tunnel: tunnel sockets for "tun6rd": raw socket: operation not permitted (needs CAP_NET_RAW)` + grant},
		{tunnel.DatapathEBPF, []int{unix.CAP_BPF, unix.CAP_SYS_ADMIN}, `tunnel: create eBPF map: operation not permitted (needs CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW)` +
			`; in a systemd unit: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_NET_RAW`},
	} {
		if row.datapath == tunnel.DatapathEBPF {
			requireEBPF(t)
		}
		ns, cfg := front(t)
		cfg.Datapath = row.datapath
		var err error
		ns.Do(func() {
			err = without(row.missing, func() error { _, err := tunnel.Up(context.Background(), cfg); return err })
		})
		if got := errText(err); got != row.want {
			t.Errorf("error\n %s, want\n %s", got, row.want)
		}
	}
}

// without runs f on this thread without some capabilities.
func without(capabilities []int, f func() error) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var was, now [2]unix.CapUserData
	if err := unix.Capget(&hdr, &was[0]); err != nil {
		return err
	}
	now = was
	for _, c := range capabilities {
		now[c/32].Effective &^= 1 << (c % 32)
	}
	if err := unix.Capset(&hdr, &now[0]); err != nil {
		return err
	}
	defer func() { _ = unix.Capset(&hdr, &was[0]) }()
	return f()
}

// A datapath that was asked for by name and cannot work is an error, and auto
// says why it passed it over.
func TestKernelWithoutSit(t *testing.T) {
	ns, cfg := front(t)
	before := ns.Snapshot()
	cfg.Datapath = tunnel.DatapathKernel
	err := upError(ns, cfg)
	if err == nil {
		return // this kernel has it: the VM's tests are about that
	}
	const why = `this kernel has no sit device (load the module sit, CONFIG_IPV6_SIT): operation not supported`
	if got, want := errText(err), `tunnel: create "tun6rd": `+why; got != want {
		t.Errorf("error\n %s, want\n %s", got, want)
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("a failed Up left (+) or took (-):\n%s", diff)
	}
	cfg.Datapath = tunnel.DatapathAuto
	tun := up(t, ns, cfg)
	defer tun.Close()
	fallback := tun.Status().Fallback
	if len(fallback) == 0 || fallback[0] != `kernel: create "tun6rd": `+why {
		t.Errorf("fallback %q", fallback)
	}
}
