package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"genkan/integration/lab"
	"genkan/integration/servers"
	"genkan/proxy/certs/certstest"
	"genkan/proxy/dnsupdate"
)

var pebbleBuilt = sync.OnceValues(func() (string, error) { return certstest.Build(os.Getenv(buildDir)) })

// A testCA is a pebble in a namespace.
type testCA struct {
	*lab.Process
	root string // file, of what it issues
	own  string // file, of its own TLS
}

// startPebble starts pebble at an address, which asks names at the ports that
// CAs ask at.
func startPebble(t *testing.T, w *world, n *lab.Namespace, at netip.Addr, dns string) *testCA {
	t.Helper()
	p := certstest.Pebble{
		Listen: netip.AddrPortFrom(at, 14000), Management: netip.AddrPortFrom(at, 15000),
		HTTP: 80, TLS: 443, DNS: dns, Validity: 90 * 24 * time.Hour,
	}
	dir := t.TempDir()
	args, env, own := p.Files(t, dir)
	program, err := pebbleBuilt()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = env
	process, err := n.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, process) })
	ca := &testCA{process, filepath.Join(dir, "root.pem"), own}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, to string) (c net.Conn, err error) {
			err = n.Do(func() error {
				c, err = new(net.Dialer).DialContext(ctx, network, to)
				return err
			})
			return c, err
		},
	}}
	waitUntil(t, patience, "pebble", func() error {
		_, text, err := p.Root(client)
		if err == nil {
			mustWrite(t, ca.root, string(text))
		}
		return err
	})
	return ca
}

// count counts what it was asked.
func (ca *testCA) count(what string) int { return strings.Count(ca.Output(), what) }

// startNames starts a DNS server in a namespace.
func startNames(t *testing.T, n *lab.Namespace, at netip.Addr) *certstest.DNS {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	addr := netip.AddrPortFrom(at, 53).String()
	err := n.Do(func() (err error) {
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			return err
		}
		tcp, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return certstest.StartDNS(t, udp, tcp)
}

// https asks a site by TLS, checked by root, and gives status, body and the
// version of HTTP.
func (w *world) https(t *testing.T, ca *testCA, c, to, name string) (string, error) {
	t.Helper()
	return out(t, w.client(c), "curl", "-sS", "--noproxy", "*", "--max-time", "10", "--interface", c, "--cacert", ca.root,
		"--connect-to", name+":443:"+to+":443", "--write-out", " %{http_code} %{http_version} %{certs}", "https://"+name+"/")
}

// serial is the serial number in what https gives.
func serial(text string) string {
	_, after, _ := strings.Cut(text, "Serial Number:")
	line, _, _ := strings.Cut(after, "\n")
	return line
}

// acmeConfig is a tunnel and the CA.
func (w *world) acmeConfig(ca *testCA) string {
	return tunnelConfig + fmt.Sprintf("\n[acme]\nca = \"https://[%[1]s]:14000/dir\"\nca_root = %[2]q\nresolver = \"%[1]s\"\nemail = \"hostmaster@example.jp\"\nprofile = \"default\"\n", lab.Client6, ca.own)
}

// site is one for both families that denies the CA, and a client of IPv4.
func site(name string) string {
	return fmt.Sprintf("\n[site.%q]\nlisten = [\"tunnel:80\", \"tunnel:443\", \"%[2]s:80\", \"%[2]s:443\"]\nto = \"%[3]s:80\"\naccess = [\"deny %[4]s\", \"deny %[5]s\", \"allow all\"]\n",
		name, lab.FrontV4, lab.BackendV4, lab.Client6, lab.Denied4)
}

// A CA that has nothing but IPv6 asks through the tunnel, while the rules deny
// it; both sites get certificates at once. Who is denied learns nothing, not
// even where the site is; who is let in is sent to HTTPS. A restart orders
// nothing.
func TestACME(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":80")
	names := startNames(t, w.Client6, lab.Client6)
	ca := startPebble(t, w, w.Client6, lab.Client6, names.Addr)
	for _, name := range []string{"www.example.jp", "shop.example.jp"} {
		names.Set(name, lab.Front6)
	}
	w.mustAliases(t, "2001:db8:6::77")
	two := w.acmeConfig(ca) + site("www.example.jp") + site("shop.example.jp") + fmt.Sprintf(`
[site."half.example.jp"]
listen = ["tunnel:80", "%[1]s:80", "tunnel:443"]
to     = "%[2]s:80"
tls    = "internal"

[site."stay.example.jp"]
listen = ["tunnel:80", "tunnel:443"]
to     = "%[2]s:80"
tls    = "internal"
redirect_http = false

[site."proxied.example.jp"]
listen = ["tunnel:80", "tunnel:443"]
to     = "%[2]s:80"
tls    = "internal"
trust  = ["2001:db8:6::77"]
`, lab.FrontV4, lab.BackendV4)
	front := w.front(t, two)
	guest := [2]string{"2001:db8:6::77", lab.Client4.String()}
	to := [2]string{"[" + lab.Front6.String() + "]", lab.FrontV4.String()}
	var first [2]string
	for i, name := range []string{"www.example.jp", "shop.example.jp"} {
		waitUntil(t, patience, "certificate of "+name, func() error {
			text, err := w.https(t, ca, guest[i], to[i], name)
			if err == nil && !strings.Contains(text, loadPage+" 200 2 ") {
				err = fmt.Errorf("got %q", text)
			}
			first[i] = serial(text)
			return err
		})
	}
	if n := ca.count("POST /order-plz"); n != 2 {
		t.Errorf("%d orders for two names", n)
	}
	t.Run("redirect", func(t *testing.T) { w.checkRedirect(t, guest, to) })
	// The tunnel's own address has a certificate too, before DNS knows it: of
	// Genkan's own CA. There is no such site, but the client has seen whom it asks.
	own := *ca
	own.root = filepath.Join(w.Dir, w.Front.Name, "lib", "genkan", "certs", "internal", "root.crt")
	waitUntil(t, patience, "certificate of the tunnel's address", func() error {
		text, err := w.https(t, &own, guest[0], to[0], to[0])
		if err == nil && !strings.Contains(text, " 421 ") {
			err = fmt.Errorf("got %q", text)
		}
		return err
	})

	stop(t, front)
	w.front(t, two)
	for i, name := range []string{"www.example.jp", "shop.example.jp"} {
		if text, err := w.https(t, ca, guest[i], to[i], name); err != nil || serial(text) != first[i] || serial(text) == "" {
			t.Errorf("%s after a restart: %q, %v; before %q", name, text, err, first[i])
		}
	}
	if n := ca.count("POST /order-plz"); n != 2 {
		t.Errorf("%d orders after a restart", n)
	}

}

// A SIGKILL amid an order, and lock files that a crash has spoilt besides, leave
// nothing in the way of the next one. Once; five times in "make
// test-reliability".
func TestKillsAmidOrders(t *testing.T) {
	w := mustWorld(t)
	names := startNames(t, w.Client6, lab.Client6)
	ca := startPebble(t, w, w.Client6, lab.Client6, names.Addr)
	config := w.acmeConfig(ca)
	kills := 1
	if longRun() {
		kills = 5
	}
	orders := 0
	for i := range kills {
		name := fmt.Sprintf("kill%d.example.jp", i)
		names.Set(name, lab.Front6)
		config += site(name)
		front := w.front(t, config)
		waitUntil(t, patience, "an order on its way", func() error {
			if n := ca.count("POST /order-plz"); n <= orders {
				return fmt.Errorf("%d of them", n)
			}
			return nil
		})
		front.Kill()
		locks, err := filepath.Glob(filepath.Join(w.Dir, w.Front.Name, "lib", "genkan", "certs", "locks", "*"))
		if err != nil || len(locks) == 0 {
			t.Errorf("the kill came at no order's time: locks %q, %v", locks, err)
		}
		for j, lock := range locks {
			mustWrite(t, lock, strings.Repeat("\x00", 100*((i+j)%2)))
		}
		killed := time.Now()
		front = w.front(t, config)
		waitUntil(t, patience, "certificate after a kill", func() error {
			_, err := w.https(t, ca, lab.Denied6.String(), "["+lab.Front6.String()+"]", name)
			return err
		})
		t.Logf("certificate %v after the kill", time.Since(killed).Round(10*time.Millisecond))
		stop(t, front)
		orders = ca.count("POST /order-plz")
	}
	if orders > 2*kills {
		t.Errorf("%d orders for %d kills", orders, kills)
	}
}

// Kills while it starts and while it serves, with all certificates in the
// store: a start orders none anew. Twice; ten times in "make test-reliability".
// The profile is written, as pebble takes one at random where none is, and what
// lasts six seconds is renewed at each start, as it should be.
func TestKillsOrderNothing(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":80")
	names := startNames(t, w.Client6, lab.Client6)
	ca := startPebble(t, w, w.Client6, lab.Client6, names.Addr)
	config, sites := w.acmeConfig(ca), []string{"a.kills.example.jp", "b.kills.example.jp", "c.kills.example.jp"}
	for _, name := range sites {
		names.Set(name, lab.Front6)
		config += site(name)
	}
	kills := 2
	if longRun() {
		kills = 10
	}
	first := map[string]string{}
	front := w.front(t, config)
	for kill := range kills + 1 {
		for _, name := range sites {
			waitUntil(t, patience, "certificate of "+name, func() error {
				text, err := w.https(t, ca, lab.Denied6.String(), "["+lab.Front6.String()+"]", name)
				if err != nil {
					return err
				}
				if first[name] == "" {
					first[name] = serial(text)
				}
				if now := serial(text); now == "" || now != first[name] {
					t.Errorf("%s after %d kills: certificate %q, before %q", name, kill, now, first[name])
				}
				return nil
			})
		}
		front.Kill()
		if kill%2 == 1 {
			w.genkan(t, w.Front, config).Kill() // as soon as it runs
		}
		front = w.front(t, config)
	}
	if n := ca.count("POST /order-plz"); n != len(sites) {
		t.Errorf("%d orders for %d names and %d kills", n, len(sites), kills)
	}
}

// checkRedirect checks port 80 of the sites.
func (w *world) checkRedirect(t *testing.T, guest, to [2]string) {
	for _, row := range []struct {
		name, client, to, method string
		site, header             string
		status                   string
	}{
		{"ipv6", guest[0], to[0], "GET", "www", "", "301 https://www.example.jp/a?b=c"},
		{"ipv4", guest[1], to[1], "GET", "www", "", "301 https://www.example.jp/a?b=c"},
		{"post", guest[0], to[0], "POST", "www", "", "308 https://www.example.jp/a?b=c"},
		{"ipv6-denied", lab.Client6.String(), to[0], "GET", "www", "", "403 "},
		{"ipv4-denied", lab.Denied4.String(), to[1], "GET", "www", "", "403 "},
		{"same-address", guest[0], to[0], "GET", "half", "", "301 https://half.example.jp/a?b=c"},
		{"other-address", guest[1], to[1], "GET", "half", "", "200 "},
		{"not-wanted", guest[0], to[0], "GET", "stay", "", "200 "},
		{"behind-a-proxy", guest[0], to[0], "GET", "proxied", "X-Forwarded-Proto: https", "200 "},
		{"behind-a-proxy-plain", guest[0], to[0], "GET", "proxied", "X-Forwarded-Proto: http", "301 https://proxied.example.jp/a?b=c"},
		{"false-proxy", lab.Client6.String(), to[0], "GET", "proxied", "X-Forwarded-Proto: https", "301 https://proxied.example.jp/a?b=c"},
	} {
		t.Run(row.name, func(t *testing.T) {
			host := row.site + ".example.jp"
			text, err := out(t, w.client(row.client), "curl", "-sS", "--noproxy", "*", "--max-time", "10", "--interface", row.client, "-X", row.method, "-H", row.header,
				"--connect-to", host+":80:"+row.to+":80", "-o", os.DevNull, "--write-out", "%{http_code} %{redirect_url}", "http://"+host+"/a?b=c")
			if err != nil || text != row.status {
				t.Errorf("got %q, %v, want %q", text, err, row.status)
			}
		})
	}
	// What looks like a challenge and is none is judged as all else.
	text, err := out(t, w.Client6, "curl", "-sS", "--noproxy", "*", "--max-time", "10", "--interface", lab.Client6.String(), "-o", os.DevNull,
		"--connect-to", "www.example.jp:80:"+to[0]+":80", "--write-out", "%{http_code}", "http://www.example.jp/.well-known/acme-challenge/genkan")
	if err != nil || text != "403" {
		t.Errorf("a false challenge of a denied client: %q, %v", text, err)
	}
}

// Wildcards by DNS-01, on a real BIND, whose zone is clean afterwards; a CNAME
// leads to where the record goes. A name outside of its zone is asked for by the
// CA, which has nothing but IPv4 here.
func TestDNS01(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":80")
	servers.StartBindUpdates(t, w.Lab, "example.jp", "example.net")
	alias := mustRecord(t, "_acme-challenge.shop.example.jp. 60 IN CNAME shop.dyn.example.jp.")
	waitUntil(t, patience, "alias", func() error { // named fails for a moment after it says that it runs
		return w.Front.Do(func() error {
			return mustUpdater(t, "hmac-sha256:lab:"+servers.BindKey).Update(t.Context(), "example.jp", dnsupdate.Change{Add: []dns.RR{alias}})
		})
	})
	address := mustRecord(t, "v4.example.net. 60 IN A "+lab.FrontV4.String())
	waitUntil(t, patience, "address", func() error {
		return w.Front.Do(func() error {
			return mustUpdater(t, "hmac-sha256:lab:"+servers.BindKey).Update(t.Context(), "example.net", dnsupdate.Change{Add: []dns.RR{address}})
		})
	})
	ca := startPebble(t, w, w.Backend, lab.BackendV4, lab.BackendV4.String()+":53")
	mustWrite(t, filepath.Join(w.Dir, "acme.key"), "key \"lab\" { algorithm hmac-sha256; secret \""+servers.BindKey+"\"; };\n")
	w.front(t, tunnelConfig+fmt.Sprintf(`
[acme]
ca       = "https://%[1]s:14000/dir"
ca_root  = %[2]q
resolver = "%[1]s"
profile  = "default"
dns      = { server = "%[1]s", key = "acme.key", zone = "example.jp" }

[site."v4.example.net"]
listen = ["%[3]s:80", "%[3]s:443"]
to     = "%[1]s:80"

[site."www.example.jp"]
hosts  = ["*.example.jp", "example.jp", "*.shop.example.jp"]
listen = ["tunnel:443", "%[3]s:443"]
to     = "%[1]s:80"
`, lab.BackendV4, ca.own, lab.FrontV4))
	for _, name := range []string{"any.example.jp", "example.jp", "any.shop.example.jp", "v4.example.net"} {
		waitUntil(t, patience, "certificate of "+name, func() error {
			from, to := lab.Client6.String(), "["+lab.Front6.String()+"]"
			if name == "v4.example.net" {
				from, to = lab.Client4.String(), lab.FrontV4.String()
			}
			_, err := w.https(t, ca, from, to, name)
			return err
		})
	}
	for _, name := range []string{"_acme-challenge.example.jp", "shop.dyn.example.jp"} {
		waitUntil(t, patience, "zone without the challenge", func() error {
			if left := records(t, w.Lab, name, dns.TypeTXT); len(left) > 0 {
				return fmt.Errorf("%s has %q", name, left)
			}
			return nil
		})
	}
}
