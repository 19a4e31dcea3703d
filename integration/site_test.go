package integration

import (
	"fmt"
	"strings"
	"testing"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// siteConfig is the first thing that has to work: one site on the tunnel and
// on IPv4, with a deny list.
var siteConfig = tunnelConfig + fmt.Sprintf(`
[site."www.example.jp"]
listen = ["tunnel:80", "%s:80"]
to     = "%s:80"
access = ["deny 2001:db8:bad::/48", "deny %s", "allow all"]
`, lab.FrontV4, lab.BackendV4, lab.Denied4)

// clients are one of each family that may enter and one that may not.
var clients = []struct {
	name   string
	addr   string
	to     string
	denied bool
}{
	{"ipv6", lab.Client6.String(), "[" + lab.Front6.String() + "]", false},
	{"ipv4", lab.Client4.String(), lab.FrontV4.String(), false},
	{"ipv6-denied", lab.Denied6.String(), "[" + lab.Front6.String() + "]", true},
	{"ipv4-denied", lab.Denied4.String(), lab.FrontV4.String(), true},
}

func (w *world) client(addr string) *lab.Namespace {
	if strings.Contains(addr, ":") {
		return w.Client6
	}
	return w.Client4
}

// An IPv6-only client reaches an IPv4-only Apache through the tunnel, an IPv4
// client the same site, and the rules hold for both.
func TestApacheBehindTunnel(t *testing.T) {
	w := mustWorld(t)
	a := servers.StartApache(t, w.Lab, "Require all granted")
	w.front(t, siteConfig)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			status, body := curl(t, w.client(c.addr), "--interface", c.addr,
				"--connect-to", "www.example.jp:80:"+c.to+":80", "http://www.example.jp/"+"?"+c.name)
			if c.denied {
				if status != 403 || body == servers.Page {
					t.Fatalf("a denied client got %d %q", status, body)
				}
				return
			}
			if status != 200 || body != servers.Page {
				t.Fatalf("got %d %q", status, body)
			}
			a.WaitLog(t, fmt.Sprintf(`peer=%s xff=%s "GET /?%s HTTP/1.1" 200`, lab.InsideV4, c.addr, c.name))
		})
	}
	for _, line := range strings.Split(a.Log(), "\n") {
		if strings.Contains(line, "denied") || strings.Contains(line, "::ffff:") {
			t.Errorf("Apache's log has %q", line)
		}
	}
}
