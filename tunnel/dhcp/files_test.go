package dhcp

import (
	"os"
	"strings"
	"testing"
	"time"
)

// captured is a lease that a client of Debian 12 wrote, asked for option 212
// by its configuration, from dnsmasq. All are of 2026-11-22, about 04:47 UTC, for an hour.
func captured(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLeaseFiles(t *testing.T) {
	const domain = "prefix 2001:e41::/32, ipv4_mask_len 0, relays [198.51.100.1 198.51.100.2]"
	fresh := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	fields, text := captured(t, "dhclient.leases"), captured(t, "dhclient-string.leases")
	without := strings.ReplaceAll(fields, "option option-6rd 0 32 2001:e41:: 198.51.100.1,198.51.100.2;", "")
	for _, row := range []struct {
		name  string
		read  func(string, string, time.Time) (Parameters, bool, error)
		text  string
		iface string
		now   time.Time
		want  string
	}{
		{"fields", dhclient, fields, "eth0", fresh, domain},
		{"octets", dhclient, text, "eth0", fresh, domain},
		{"expired", dhclient, fields, "eth0", fresh.Add(time.Hour), "none"},
		{"other-interface", dhclient, fields, "eth1", fresh, "none"},
		{"never-expires", dhclient, strings.ReplaceAll(fields, "expire 0 2026/11/22 05:46:36", "expire never"), "eth0", fresh.AddDate(5, 0, 0), domain},
		{"epoch", dhclient, strings.ReplaceAll(fields, "expire 0 2026/11/22 05:46:36;", "expire epoch 1795326396; # Sun Nov 22 05:46:36 2026"), "eth0", fresh, domain},
		{"epoch-over", dhclient, strings.ReplaceAll(fields, "expire 0 2026/11/22 05:46:36;", "expire epoch 1763790396; # of last year"), "eth0", fresh, "none"},
		{"unknown-212", dhclient, strings.ReplaceAll(text, "option sixrd", "option unknown-212"), "eth0", fresh, domain},
		{"the-last-counts", dhclient, fields + strings.ReplaceAll(fields, "2001:e41::", "2001:db8::"), "eth0", fresh, strings.ReplaceAll(domain, "2001:e41::", "2001:db8::")},
		{"the-last-has-none", dhclient, fields + without, "eth0", fresh, "none"},
		{"the-last-of-ours", dhclient, fields + strings.ReplaceAll(without, "eth0", "eth1"), "eth0", fresh, domain},
		{"written-half", dhclient, fields + strings.ReplaceAll(fields, "2001:e41::", "2001:db8::")[:300], "eth0", fresh, domain},
		{"wrong", dhclient, strings.ReplaceAll(fields, "0 32 2001:e41::", "33 32 2001:e41::"), "eth0", fresh, "option 212: IPv4MaskLen 33, more than 32"},
		{"garbled", dhclient, strings.ReplaceAll(fields, "0 32 2001:e41::", "0 2001:e41::"), "eth0", fresh, `option 212: "0 2001:e41:: 198.51.100.1,198.51.100.2" is not IPv4MaskLen, 6rdPrefixLen, prefix and relays`},
		{"empty", dhclient, "", "eth0", fresh, "none"},

		// systemd 252 had asked for option 212, and got it.
		{"networkd", networkd, captured(t, "networkd.lease"), "eth0", fresh, "none"},
		{"networkd-private", networkd, captured(t, "networkd.lease") + "OPTION_212=002020010e41000000000000000000000000c6336401c6336402\n", "eth0", fresh, domain},
		{"networkd-garbled", networkd, "OPTION_212=0020x\n", "eth0", fresh, `option 212: "0020x" is not hexadecimal`},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, found, err := row.read(row.text, row.iface, row.now)
			got := "none"
			switch {
			case err != nil:
				got = err.Error()
			case found:
				got = p.String()
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// A file that dhclient appends to for years is read from its end, from the beginning of a line on.
func TestTail(t *testing.T) {
	lease := captured(t, "dhclient.leases")
	file := t.TempDir() + "/dhclient.leases"
	if err := os.WriteFile(file, []byte(strings.Repeat(lease, 2*maxTail/len(lease))), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := tail(file)
	if err != nil || len(text) > maxTail || len(text) < maxTail-80 || !strings.HasSuffix(text, lease) {
		t.Fatalf("%d octets, %v", len(text), err)
	}
	if _, found, err := dhclient(text, "eth0", time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)); !found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

// Whatever stands in a lease file, what is found is a domain that the option could say.
func FuzzLeaseFile(f *testing.F) {
	for _, name := range []string{"dhclient.leases", "dhclient-string.leases", "networkd.lease"} {
		f.Add(captured(f, name))
	}
	now := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		for _, read := range []func(string, string, time.Time) (Parameters, bool, error){dhclient, networkd} {
			p, found, err := read(text, "eth0", now)
			if found != (err == nil && len(p.Relays) > 0) {
				t.Fatalf("found %v, %v, %v", found, p, err)
			}
			if !found {
				continue
			}
			if again, err := Parse(p.Bytes()); err != nil || !again.Same(p) {
				t.Fatalf("%v, from its octets %v, %v", p, again, err)
			}
		}
	})
}
