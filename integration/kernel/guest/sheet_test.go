package guest

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"genkan/tunnel"
	"genkan/tunnel/sixrd"
	"genkan/tunnel/tunneltest"
)

// The commands that "genkan tunnel address" prints make the same tunnel: as it
// is told, by Debian's ip(8), and without us.
func TestCommandsOfTheSheet(t *testing.T) {
	cfg := tunnel.Config{Expose: tunnel.ExposeAll}
	p := tunneltest.NewPair(t, cfg, cfg)
	address := p.Edge.Address()
	p.StopEdge()
	sheet, err := sixrd.Describe(sixrd.Request{
		Domain: sixrd.Domain{Prefix: netip.MustParsePrefix("2001:e41::/32"), Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1")}},
		IPv4:   netip.MustParseAddr("203.0.113.5"),
	})
	if err != nil || sheet.Address != address {
		t.Fatalf("address %s, %v; want %s", sheet.Address, err, address)
	}
	commands(t, p.EdgeNS, sheet.Commands)
	tunneltest.Transfer(t, p.Client, p.EdgeNS, address, 1<<20)
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)
}

// So do those for a domain whose edges share some bits of IPv4.
func TestCommandsOfTheSheetSharedBits(t *testing.T) {
	ns := tunneltest.NewNS(t)
	sheet, err := sixrd.Describe(sixrd.Request{
		Domain: sixrd.Domain{Prefix: netip.MustParsePrefix("2a02:58:54::/46"), IPv4MaskLen: 22, Common: netip.MustParseAddr("185.227.123.123")},
		IPv4:   netip.MustParseAddr("185.227.123.123"),
	})
	if err != nil {
		t.Fatal(err)
	}
	commands(t, ns, sheet.Commands)
	got := commands(t, ns, "ip tunnel show tun6rd\nip -6 address show dev tun6rd\n")
	for _, want := range []string{"local 185.227.123.123 ", "6rd-prefix 2a02:58:54::/46", "6rd-relay_prefix 185.227.120.0/22", "inet6 2a02:58:57:7b00::1/46 "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// commands runs lines of words in a namespace and returns what they print.
func commands(t *testing.T, ns *tunneltest.NS, lines string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		ns.Must(func() error {
			out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
			all.Write(out)
			if err != nil {
				return fmt.Errorf("%s: %w: %s", strings.TrimSpace(line), err, out)
			}
			return nil
		})
	}
	return all.String()
}
