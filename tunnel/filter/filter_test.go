package filter_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"genkan/tunnel/filter"
	"genkan/tunnel/ingress"
	"genkan/tunnel/sixrd"
	"genkan/tunnel/tunneltest"
)

// The tables as nft(8) reads them: a reviewer can, too. To write them anew:
// GENKAN_UPDATE=1 go test ./tunnel/filter
func TestTables(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		tunneltest.Skip(t, "nft (package nftables) is not installed")
	}
	domain := netip.MustParsePrefix("2001:db8::/32")
	local := netip.MustParseAddr("192.0.2.10")
	relays := []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	kernel := func(cfg ingress.Config, k filter.Kernel) *filter.Kernel {
		cfg.Local, cfg.MTU = local, 1280
		check, err := ingress.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		k.Local, k.MTU, k.Rules, k.Out = local, 1280, check.Rules(), check.Outbound()
		return &k
	}
	edge := ingress.Config{Kind: ingress.Edge, Domain: sixrd.Domain{Prefix: domain, Relays: relays}}
	relay := edge
	relay.Kind = ingress.Relay
	configured := ingress.Config{Kind: ingress.Configured, Remote: relays[0], Own: []netip.Prefix{netip.MustParsePrefix("2001:db8:100::2/128")}}
	ports := []filter.Port{{First: 80}, {First: 443}, {UDP: true, First: 4000, Last: 4005}, {UDP: true, First: 4003, Last: 4009},
		{UDP: true, First: 4010}, {First: 65000, Last: 65535}}
	for name, cfg := range map[string]filter.Config{
		"listeners":    {Interface: "tun6rd", Domain: domain, Listeners: true, Ports: ports},
		"all":          {Interface: "tun6rd", Domain: domain, Silent: local},
		"relay":        {Interface: "tun6rd", Domain: domain, Listeners: true, Forward: true},
		"6in4":         {Interface: "he-ipv6.1", Listeners: true},
		"kernel":       {Interface: "tun6rd", Domain: domain, Kernel: kernel(edge, filter.Kernel{Strict: true, Relays: relays, Domain: domain, Split: true})},
		"kernel-relay": {Interface: "tun6rd", Domain: domain, Forward: true, Kernel: kernel(relay, filter.Kernel{Domain: domain})},
		"kernel-6in4":  {Interface: "he-ipv6", Listeners: true, Kernel: kernel(configured, filter.Kernel{Relays: relays})},
	} {
		t.Run(name, func(t *testing.T) {
			ns := tunneltest.NewNS(t)
			ns.Must(func() error {
				_, err := filter.Apply(cfg)
				return err
			})
			got := list(t, ns)
			golden := filepath.Join("testdata", name+".nft")
			if os.Getenv("GENKAN_UPDATE") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("tables (-want +got):\n%s", diff)
			}
			ns.Must(func() error { return filter.Remove(cfg.Interface) })
			if left := list(t, ns); left != "" {
				t.Errorf("left after Remove:\n%s", left)
			}
		})
	}
}

var counters = regexp.MustCompile(`counter packets \d+ bytes \d+`)

func list(t *testing.T, ns *tunneltest.NS) string {
	t.Helper()
	var out []byte
	ns.Must(func() (err error) {
		out, err = exec.Command("nft", "list", "ruleset").CombinedOutput()
		return err
	})
	return counters.ReplaceAllString(string(out), "counter")
}

// Tables of others stay as they are, and ours are replaced as a whole.
func TestForeignTablesStay(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		tunneltest.Skip(t, "nft (package nftables) is not installed")
	}
	ns := tunneltest.NewNS(t)
	const foreign = "table ip6 genkan_other { chain c { counter accept; }; }"
	ns.Must(exec.Command("nft", foreign).Run)
	before := list(t, ns)
	for _, iface := range []string{"tun6rd", "tun6rd", "b"} {
		ns.Must(func() error {
			_, err := filter.Apply(filter.Config{Interface: iface, Listeners: true, Ports: []filter.Port{{First: 80}}})
			return err
		})
	}
	if n := strings.Count(list(t, ns), "table "); n != 3 {
		t.Errorf("%d tables, want 3:\n%s", n, list(t, ns))
	}
	for _, iface := range []string{"tun6rd", "b", "never"} {
		ns.Must(func() error { return filter.Remove(iface) })
	}
	if diff := cmp.Diff(before, list(t, ns)); diff != "" {
		t.Errorf("foreign tables (-before +after):\n%s", diff)
	}
}
