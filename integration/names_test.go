package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"genkan/integration/lab"
	"genkan/integration/servers"
	"genkan/proxy/dnsupdate"
)

// changeFrontV4 takes the front's IPv4 address away and gives it another, with the route by it, as a lease does.
func (w *world) changeFrontV4(t *testing.T, from, to netip.Addr) {
	t.Helper()
	if err := w.Front.DelAddr("eth0", netip.PrefixFrom(from, 24)); err != nil {
		t.Fatal(err)
	}
	if err := w.Front.AddAddr("eth0", netip.PrefixFrom(to, 24)); err != nil {
		t.Fatal(err)
	}
	err := w.Front.AddRoute("eth0", netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1"))
	if err != nil && !errors.Is(err, syscall.EEXIST) { // it goes with the link's last address only
		t.Fatal(err)
	}
}

// TestNamesFollowTheTunnel: AAAA and PTR records in a real BIND follow the tunnel's address, and nobody else's record
// of the same name is touched.
func TestNamesFollowTheTunnel(t *testing.T) {
	w := mustWorld(t)
	const reverse = "1.4.e.0.1.0.0.2.ip6.arpa"
	servers.StartBindUpdates(t, w.Lab, "example.test", reverse)
	other := mustRecord(t, "www.example.test. 300 IN AAAA 2001:db8::7")
	if err := w.Front.Do(func() error {
		return mustUpdater(t, "hmac-sha256:lab:"+servers.BindKey).Update(t.Context(), "example.test", dnsupdate.Change{Add: []dns.RR{other}})
	}); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(w.Dir, "update.key"), "key \"lab\" {\n\talgorithm hmac-sha256;\n\tsecret \""+servers.BindKey+"\";\n};\n")
	update := "\n[tunnel.dns_update]\nserver = \"" + lab.BackendV4.String() + "\"\nkey = \"update.key\"\n"
	config := tunnelConfig + update + "[site.\"www.example.test\"]\nlisten = \"tunnel:80\"\nto = \"10.0.0.10:8080\"\nhosts = [\"www.example.test\", \"default\", \"*.example.test\"]\n"

	check := func(when string, address netip.Addr, gone ...netip.Addr) {
		t.Helper()
		waitUntil(t, patience, when, func() error {
			want := []string{other.(*dns.AAAA).AAAA.String(), address.String()}
			slices.Sort(want)
			if got := records(t, w.Lab, "www.example.test", dns.TypeAAAA); !slices.Equal(got, want) {
				return fmt.Errorf("AAAA %q, want %q", got, want)
			}
			for _, a := range append([]netip.Addr{address}, gone...) {
				arpa, err := dns.ReverseAddr(a.String())
				if err != nil {
					return err
				}
				want := []string{}
				if a == address {
					want = []string{"www.example.test."}
				}
				if got := records(t, w.Lab, arpa, dns.TypePTR); !slices.Equal(got, want) {
					return fmt.Errorf("PTR of %s %q, want %q", a, got, want)
				}
			}
			return nil
		})
	}
	second, third := netip.MustParseAddr("2001:e41:cb00:7106::1"), netip.MustParseAddr("2001:e41:cb00:7107::1")
	p := w.front(t, config)
	check("at the start", lab.Front6)
	w.changeFrontV4(t, lab.FrontV4, netip.MustParseAddr("203.0.113.6"))
	check("after another IPv4 address", second, lab.Front6)

	// What changed while Genkan did not run is followed, too: it has written down what stands in DNS.
	if err := p.Stop(patience); err != nil {
		t.Fatal(err)
	}
	w.changeFrontV4(t, netip.MustParseAddr("203.0.113.6"), netip.MustParseAddr("203.0.113.7"))
	p = w.front(t, config)
	check("after a change behind its back", third, lab.Front6, second)
	if n := len(records(t, w.Lab, "example.test", dns.TypeAAAA)); n != 0 {
		t.Errorf("%d records for a name that nobody asked for", n)
	}
	if err := p.Stop(patience); err != nil {
		t.Fatal(err)
	}
	if got := records(t, w.Lab, "www.example.test", dns.TypeAAAA); len(got) != 2 {
		t.Errorf("after the end: %q, want them to stay for the next start", got)
	}
}
