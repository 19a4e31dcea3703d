package tunnel_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// front is a namespace with an IPv4 uplink, and a configuration for it.
func front(t *testing.T) (*tunneltest.NS, tunnel.Config) {
	t.Helper()
	ns, isp := tunneltest.NewNS(t), tunneltest.NewNS(t)
	tunneltest.Veth(ns, "up0", netip.MustParsePrefix("203.0.113.5/24"), isp, "front0", netip.MustParsePrefix("203.0.113.1/24"))
	ns.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1"))
	return ns, tunnel.Config{
		Prefix:   netip.MustParsePrefix("2001:e41::/32"),
		Relays:   []netip.Addr{netip.MustParseAddr("61.211.224.125")},
		Datapath: tunnel.DatapathUserspace,
		StateDir: t.TempDir(),
	}
}

// up brings a tunnel up in ns and fails the test if that fails.
func up(t *testing.T, ns *tunneltest.NS, cfg tunnel.Config) *tunnel.Tunnel {
	t.Helper()
	var tun *tunnel.Tunnel
	ns.Must(func() (err error) {
		tun, err = tunnel.Up(context.Background(), cfg)
		return err
	})
	return tun
}

func upError(ns *tunneltest.NS, cfg tunnel.Config) error {
	var err error
	ns.Do(func() {
		var tun *tunnel.Tunnel
		if tun, err = tunnel.Up(context.Background(), cfg); err == nil {
			err = tun.Close()
		}
	})
	return err
}

func plan(ns *tunneltest.NS, cfg tunnel.Config) (lines []string, err error) {
	ns.Do(func() { lines, err = tunnel.Plan(context.Background(), cfg) })
	return lines, err
}

func TestLeavesNothing(t *testing.T) {
	for role, address := range map[string]string{
		tunnel.RoleEdge:  "2001:e41:cb00:7105::1",
		tunnel.RoleRelay: "2001:e41:cb00:7105::", // RFC 5969 §12
	} {
		t.Run(role, func(t *testing.T) {
			ns, cfg := front(t)
			cfg.Role = role
			if role == tunnel.RoleRelay {
				cfg.Local = netip.MustParseAddr("203.0.113.5")
			}
			before := ns.Snapshot()
			tun := up(t, ns, cfg)
			if got, want := tun.Delegated().String(), "2001:e41:cb00:7105::/64"; got != want {
				t.Errorf("delegated %s, want %s", got, want)
			}
			during := ns.Snapshot()
			for _, want := range []string{
				"addr tun6rd " + address + "/128", "link tun6rd tuntap mtu 1280", "table 10 genkan_tun6rd",
			} {
				if !strings.Contains(during, want) {
					t.Errorf("no %q in\n%s", want, during)
				}
			}
			if strings.Contains(during, "addr tun6rd fe80") {
				t.Errorf("a link-local address on the tunnel:\n%s", during)
			}
			for range 2 { // a second Close does nothing
				if err := tun.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
				t.Errorf("Close left (+) or took (-):\n%s", diff)
			}
			if left, _ := os.ReadDir(cfg.StateDir); len(left) > 0 {
				t.Errorf("state directory is not empty: %v", left)
			}
		})
	}
}

func TestFailedUpLeavesNothing(t *testing.T) {
	ns, cfg := front(t)
	cfg.Local = netip.MustParseAddr("203.0.113.5")
	// The route to the whole domain cannot be made: one stands there already.
	ns.Must(func() error {
		dst, _ := netlink.ParseIPNet("2001:e41::/32")
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: lo.Attrs().Index, Priority: 1024})
	})
	before := ns.Snapshot()
	err := upError(ns, cfg)
	if got, want := errText(err), "tunnel: ip -6 route add 2001:e41::/32 dev tun6rd metric 1024: file exists, and is not ours; see whose it is by ip -6 route show 2001:e41::/32, and remove it, or take down the tunnel that has made it"; got != want {
		t.Errorf("error\n %s, want\n %s", got, want)
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("a failed Up left (+) or took (-):\n%s", diff)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	ns, cfg := front(t)
	tun := up(t, ns, cfg)
	defer tun.Close()
	got := errText(upError(ns, cfg))
	if !strings.HasPrefix(got, `tunnel: "tun6rd" belongs to a running process (process `) ||
		!strings.HasSuffix(got, `); stop it first, or give this tunnel another interface name`) {
		t.Errorf("error %s", got)
	}
}

// A killed process leaves what the kernel does not take with it; the next one
// takes that over, and leaves nothing.
func TestAdoptsAfterKill(t *testing.T) {
	ns, cfg := front(t)
	before := ns.Snapshot()
	child := startChild(t, ns, cfg)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if !strings.Contains(ns.Snapshot(), "table 10 genkan_tun6rd") {
		t.Fatal("nothing to adopt: the filter went with the process")
	}
	tun := up(t, ns, cfg)
	if err := tun.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("left (+) or taken (-):\n%s", diff)
	}
}

// An interface that somebody made under our name after we were killed is his.
func TestForeignLinkAfterKill(t *testing.T) {
	ns, cfg := front(t)
	child := startChild(t, ns, cfg)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	ns.Must(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "tun6rd"
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	})
	want := `tunnel: an interface "tun6rd" exists (bridge) and is not ours; it is not touched: choose another name, or use --replace to delete it`
	if got := errText(upError(ns, cfg)); got != want {
		t.Errorf("error\n %s, want\n %s", got, want)
	}
	if after := ns.Snapshot(); !strings.Contains(after, "link tun6rd bridge") || strings.Contains(after, "table 10") {
		t.Errorf("after:\n%s", after)
	}
}

// The state file alone is enough to take down what a killed process left.
func TestTakeDown(t *testing.T) {
	ns, cfg := front(t)
	before := ns.Snapshot()
	child := startChild(t, ns, cfg)
	at := tunnel.Config{StateDir: cfg.StateDir}
	ns.Do(func() {
		if _, err := tunnel.TakeDown(at); err == nil {
			t.Error("took down a living process's tunnel")
		}
	})
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	for _, want := range []bool{true, false} {
		ns.Do(func() {
			if found, err := tunnel.TakeDown(at); err != nil || found != want {
				t.Errorf("found %v, error %v; want %v", found, err, want)
			}
		})
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("left (+) or taken (-):\n%s", diff)
	}
	if left, _ := os.ReadDir(cfg.StateDir); len(left) > 0 {
		t.Errorf("state directory is not empty: %v", left)
	}
}

func TestPlanChangesNothing(t *testing.T) {
	ns, cfg := front(t)
	before := ns.Snapshot()
	got, err := plan(ns, cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ip link add tun6rd type tun mode tun vnet_hdr",
		"sysctl -w net.ipv6.conf.tun6rd.disable_ipv6=0",
		"sysctl -w net.ipv6.conf.tun6rd.accept_ra=0",
		"sysctl -w net.ipv6.conf.tun6rd.autoconf=0",
		"sysctl -w net.ipv6.conf.tun6rd.addr_gen_mode=1",
		"sysctl -w net.ipv6.conf.tun6rd.router_solicitations=0",
		"nft table ip6 genkan_tun6rd: lets in our listeners' ports, ICMPv6 errors and echo, and replies",
		"ip link set tun6rd up mtu 1280",
		"ip -6 addr add 2001:e41:cb00:7105::1/128 dev tun6rd nodad",
		"ip -6 route add 2001:e41::/32 dev tun6rd metric 1024",
		"ip -6 route add unreachable 2001:e41:cb00:7105::/64 metric 2147483647",
		"ip -6 route add ::/0 dev tun6rd metric 1024",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("the plan changed something:\n%s", diff)
	}
}

// With another configuration, what the killed process made and the new one
// does not want goes.
func TestAdoptsAnotherConfiguration(t *testing.T) {
	ns, cfg := front(t)
	before := ns.Snapshot()
	child := startChild(t, ns, cfg)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	cfg.Prefix = netip.MustParsePrefix("2602::/24")
	tun := up(t, ns, cfg)
	if during := ns.Snapshot(); strings.Contains(during, "2001:e41") {
		t.Errorf("the former prefix stands:\n%s", during)
	}
	if err := tun.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("left (+) or taken (-):\n%s", diff)
	}
}

func TestLeaveAndAdopt(t *testing.T) {
	ns, cfg := front(t)
	before := ns.Snapshot()
	tun := up(t, ns, cfg)
	during := ns.Snapshot()
	if err := tun.Leave(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(during, ns.Snapshot()); diff != "" {
		t.Errorf("Leave changed:\n%s", diff)
	}
	cfg.Replace = true // what stands is ours: there is nothing to replace
	if lines, err := plan(ns, cfg); err != nil || strings.HasPrefix(lines[0], tunnel.Deletes) {
		t.Errorf("the plan is %q, %v", lines, err)
	}
	tun = up(t, ns, cfg)
	if diff := cmp.Diff(during, ns.Snapshot()); diff != "" {
		t.Errorf("adopting changed:\n%s", diff)
	}
	if err := tun.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("left (+) or taken (-):\n%s", diff)
	}
}

// childConfig, in the environment, makes TestChild bring up that tunnel.
const childConfig = "GENKAN_TUNNEL_CHILD"

// startChild runs this test binary in ns with a tunnel that is up.
func startChild(t *testing.T, ns *tunneltest.NS, cfg tunnel.Config) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childConfig+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ns.Must(cmd.Start)
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "up\n" {
		_ = cmd.Process.Kill()
		rest, _ := io.ReadAll(out)
		t.Fatalf("child: %q %v %s", line, err, rest)
	}
	return cmd
}

// TestChild is no test but the process of startChild.
func TestChild(t *testing.T) {
	text := os.Getenv(childConfig)
	if text == "" {
		return
	}
	var cfg tunnel.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := tunnel.Up(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("up\n")
	time.Sleep(time.Minute) // until it is killed
}

// What an earlier boot has made is gone with it: what is of that kind now is
// another's, and neither the next tunnel nor "down" touches it.
func TestStateOfAnotherBoot(t *testing.T) {
	ns, cfg := front(t)
	state := `{"version":1,"boot":"another","index":2,"steps":[{"op":"link","link":"tun6rd","params":"type tun"},
		{"op":"sysctl","link":"x","key":"net/ipv4/ip_forward","old":"1","value":"0"},
		{"op":"filter","link":"tun6rd"},{"op":"route","link":"tun6rd","dst":"2001:e41:cb00:7105::/64","metric":2147483647,"reject":true}]}`
	was := func() {
		if err := os.WriteFile(filepath.Join(cfg.StateDir, "tun6rd.json"), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := ns.Snapshot()
	was()
	if err := up(t, ns, cfg).Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("left (+) or taken (-):\n%s", diff)
	}
	ns.Must(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "tun6rd"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		dst, err := netlink.ParseIPNet("2001:e41:cb00:7105::/64")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Priority: 2147483647, Protocol: 61})
	})
	before = ns.Snapshot()
	was()
	ns.Must(func() error {
		_, err := tunnel.TakeDown(tunnel.Config{StateDir: cfg.StateDir})
		return err
	})
	if diff := cmp.Diff(before, ns.Snapshot()); diff != "" {
		t.Errorf("down after a reboot left (+) or took (-):\n%s", diff)
	}
	if left, _ := os.ReadDir(cfg.StateDir); len(left) > 0 {
		t.Errorf("state directory is not empty: %v", left)
	}
}

func errText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}
