package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// ruleConfig is a site for every name with the rules, and what else stands
// above the first table and in the site.
func ruleConfig(top, access, site string) string {
	return top + tunnelConfig + fmt.Sprintf(`
[lists]
friends = ["2001:db8:6::/64", "192.0.2.10"]

[site.all]
hosts  = ["default"]
listen = ["tunnel:80", "%s:80"]
to     = "%s:80"
access = %s
%s`, lab.FrontV4, lab.BackendV4, access, site)
}

// get asks for the site as a client and returns the status.
func (w *world) get(t *testing.T, c, to string, header ...string) int {
	t.Helper()
	args := []string{"--interface", c, "http://" + to + "/"}
	for _, h := range header {
		args = append(args, "--header", h)
	}
	status, _ := curl(t, w.client(c), args...)
	return status
}

// mustAliases gives client6 further addresses.
func (w *world) mustAliases(t *testing.T, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		if err := w.Client6.AddAlias("eth0", netip.MustParseAddr(a)); err != nil {
			t.Fatal(err)
		}
	}
}

// Who may enter, from the wire to the server. The IPv4 inside an IPv6 address
// can deny and never allow: it costs nothing to forge.
func TestRulesOnTheWire(t *testing.T) {
	const (
		sixToFour = "2002:c000:20a::1" // of 192.0.2.10
		native    = "2001:db8:6::10"
		four      = "192.0.2.10"
	)
	const trusted = `trust = ["friends"]`
	w := mustWorld(t)
	w.mustAliases(t, sixToFour)
	servers.StartApache(t, w.Lab, "Require all granted")
	v6, v4 := "["+lab.Front6.String()+"]", lab.FrontV4.String()
	for _, row := range []struct {
		name, top, access, site string
		client, header          string
		want                    int
	}{
		{"6to4-is-not-its-ipv4", "", `["allow 192.0.2.0/24"]`, "", sixToFour, "", 403},
		{"the-ipv4-itself", "", `["allow 192.0.2.0/24"]`, "", four, "", 200},
		{"mapped-rule-for-ipv4", "", `["allow ::ffff:192.0.2.0/120"]`, "", four, "", 200},
		{"deny-sees-inside", "", `["deny 192.0.2.0/24", "allow all"]`, "", sixToFour, "", 403},
		{"deny-told-not-to", "embedded = \"off\"\n", `["deny 192.0.2.0/24", "allow all"]`, "", sixToFour, "", 200},
		{"one-family-fails-closed", "", `["allow 192.0.2.0/24", "deny 0.0.0.0/0"]`, "", native, "", 403},
		{"by-list", "", `["allow friends"]`, "", native, "", 200},
		{"xff-of-strangers", "", `["allow 192.0.2.55"]`, "", native, "X-Forwarded-For: 192.0.2.55", 403},
		{"xff-of-the-trusted", "", `["allow 192.0.2.55"]`, trusted, native, "X-Forwarded-For: 192.0.2.55", 200},
		{"xff-mapped", "", `["allow 192.0.2.0/24"]`, trusted, native, "X-Forwarded-For: ::ffff:192.0.2.55", 200},
		{"xff-6to4", "", `["allow 192.0.2.0/24"]`, trusted, native, "X-Forwarded-For: 2002:c000:237::1", 403},
		{"xff-rightmost-untrusted", "", `["deny 198.51.100.9", "allow all"]`, trusted, native, "X-Forwarded-For: 192.0.2.55, 198.51.100.9", 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := w.front(t, ruleConfig(row.top, row.access, row.site))
			to := v6
			if !strings.Contains(row.client, ":") {
				to = v4
			}
			var header []string
			if row.header != "" {
				header = append(header, row.header)
			}
			if got := w.get(t, row.client, to, header...); got != row.want {
				t.Errorf("%s with %s: status %d, want %d", row.client, row.access, got, row.want)
			}
			stop(t, p)
		})
	}
}

// A /64 is one client: its neighbours share a limit, the next /64 has its own,
// and so has each IPv4 address.
func TestLimitPerPrefix(t *testing.T) {
	w := mustWorld(t)
	w.mustAliases(t, "2001:db8:6::11", "2001:db8:6:1::10")
	servers.StartApache(t, w.Lab, "Require all granted")
	w.front(t, ruleConfig("", `["limit 3/10m per /64", "allow all"]`, ""))
	v6, v4 := "["+lab.Front6.String()+"]", lab.FrontV4.String()
	for i, step := range []struct {
		client, to string
		want       int
	}{
		{"2001:db8:6::10", v6, 200},
		{"2001:db8:6::11", v6, 200},
		{"2001:db8:6::10", v6, 200},
		{"2001:db8:6::10", v6, 429},
		{"2001:db8:6::11", v6, 429},
		{"2001:db8:6:1::10", v6, 200},
		{"192.0.2.10", v4, 200},
		{"192.0.2.66", v4, 200},
		{"192.0.2.10", v4, 200},
		{"192.0.2.10", v4, 200},
		{"192.0.2.10", v4, 429},
		{"192.0.2.66", v4, 200},
	} {
		if got := w.get(t, step.client, step.to); got != step.want {
			t.Errorf("request %d, of %s: status %d, want %d", i+1, step.client, got, step.want)
		}
	}
}
