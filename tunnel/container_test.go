package tunnel_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// A container has a read-only /proc/sys.
func TestReadOnlySysctls(t *testing.T) {
	mount := func(t *testing.T, ns *tunneltest.NS) {
		ns.Must(func() error {
			// This thread's own mounts; it ends with the test.
			for _, err := range []error{
				unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS),
				unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
				unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""),
				unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
			} {
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	t.Run("IPv6 on", func(t *testing.T) {
		ns, cfg := front(t)
		mount(t, ns)
		if err := upError(ns, cfg); err != nil {
			t.Error(err)
		}
	})
	t.Run("IPv6 off", func(t *testing.T) {
		ns, cfg := front(t)
		ns.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
		mount(t, ns)
		want := `tunnel: sysctl -w net.ipv6.conf.tun6rd.disable_ipv6=0: open /proc/sys/net/ipv6/conf/tun6rd/disable_ipv6: read-only file system; ` +
			`where /proc/sys is read-only, start the container with --sysctl net.ipv6.conf.default.disable_ipv6=0`
		if got := errText(upError(ns, cfg)); got != want {
			t.Errorf("error\n %s, want\n %s", got, want)
		}
	})
}

// A user namespace has no privilege over the host, and is enough.
func TestUserNamespace(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil {
		tunneltest.Skip(t, "unshare (package util-linux) is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-Urn", "sh", "-ec", `
		ip link set lo up
		ip link add up0 type veth peer name up1
		ip addr add 203.0.113.5/24 dev up0
		ip link set up0 up; ip link set up1 up
		exec "$0" -test.run='^TestInUserNamespace$' -test.v`, self)
	cmd.Env = append(os.Environ(), "GENKAN_USERNS_STATE="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInUserNamespace") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestInUserNamespace is no test but the process of TestUserNamespace.
func TestInUserNamespace(t *testing.T) {
	dir := os.Getenv("GENKAN_USERNS_STATE")
	if dir == "" {
		return
	}
	cfg := tunneltest.Configs()["A"]
	cfg.Datapath, cfg.StateDir, cfg.Local = tunnel.DatapathAuto, dir, cfg.Local.Next()
	tun, err := tunnel.Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if tun.Datapath() != tunnel.DatapathUserspace {
		t.Errorf("datapath %s", tun.Datapath())
	}
	t.Log(tun.Status().Fallback)
	if err := tun.Close(); err != nil {
		t.Error(err)
	}
}
