package guest

import (
	"testing"

	"genkan/integration/lab"
	"genkan/tunnel"
)

// A datapath that was asked for by its name and cannot work here is an error
// that says what is missing. Run in user-mode Linux only, which is 6.1.
func TestNoDatapath(t *testing.T) {
	for _, row := range []struct {
		datapath, module, want string
	}{
		{tunnel.DatapathKernel, "sit", `tunnel: create "tun6rd": this kernel has no sit device (load the module sit, CONFIG_IPV6_SIT): operation not supported`},
		{tunnel.DatapathUserspace, "tun", `tunnel: create "tun6rd": open /dev/net/tun: no such file or directory; load the module tun, or give the container the device /dev/net/tun`},
		{tunnel.DatapathEBPF, "", `tunnel: try eBPF program decap: this kernel does not strip the outer header (returned -1); needs Linux 6.6`},
	} {
		t.Run(row.datapath, func(t *testing.T) {
			if row.module != "" {
				mustUnload(t, row.module)
			}
			l := mustLab(t)
			before := mustSnapshot(t, l.Front)
			cfg := edge()
			cfg.StateDir, cfg.Datapath = t.TempDir(), row.datapath
			var tun *tunnel.Tunnel
			err := l.Front.Do(func() (err error) {
				tun, err = tunnel.Up(t.Context(), cfg)
				return err
			})
			if err == nil {
				t.Fatalf("the tunnel is up: %v", tun.Close())
			}
			if got := err.Error(); got != row.want {
				t.Errorf("error\n %s, want\n %s", got, row.want)
			}
			if diff := lab.Diff(before, mustSnapshot(t, l.Front)); len(diff) != 0 {
				t.Errorf("left behind: %q", diff)
			}
		})
	}
}
