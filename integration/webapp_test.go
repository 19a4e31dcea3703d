package integration

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// webappConfig has one application four times: behind the front's own address,
// by X-Forwarded-For and mod_remoteip, by Pseudo-IPv4 and mod_remoteip, and by
// the pool's addresses.
var webappConfig = tunnelConfig + fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[site."own.test"]
listen = ["tunnel:80", "%[1]s:80"]
to     = "%[2]s:8001"

[site."xff.test"]
listen = ["tunnel:80", "%[1]s:80"]
to     = "%[2]s:8002"

[site."pseudo.test"]
listen   = ["tunnel:80", "%[1]s:80"]
to       = "%[2]s:8003"
announce = ["pseudo-ipv4"]

[site."pool.test"]
listen   = ["tunnel:80", "%[1]s:80"]
to       = "%[2]s:8001"
source   = "pool"
announce = ["forwarded", "x-real-ip"]
`, lab.FrontV4, lab.BackendV4)

// A seen is what the application says of its client.
type seen struct {
	Addr, Back, Column, Unsafe, XFF, Real string
	Long                                  any // ip2long: a number, or false
	HTTPS                                 bool
	Length                                int
}

// lies are what a client may claim of itself.
var lies = []string{"X-Forwarded-For: 10.6.6.6", "X_Forwarded_For: 10.6.6.6", "Client-IP: 10.6.6.6", "X-Forwarded: 10.6.6.6", "X-Cluster-Client-IP: 10.6.6.6",
	"Forwarded-For: 10.6.6.6", "Forwarded: for=10.6.6.6", "X-Client-IPv6: 2001:db8::6", "Pseudo-IPv4: 10.6.6.6", "X-Real-IP: 10.6.6.6"}

// Apache with PHP and mod_remoteip, IPv4 only and unchanged, takes each client
// for itself, in each of the ways; an IPv6 client is an IPv4 address to ip2long
// and to a column of 15 letters where the site says so. Nobody's claims arrive.
func TestPHPLearnsTheClient(t *testing.T) {
	w := mustWorld(t)
	php := servers.StartPHP(t, w.Lab, nil)
	w.front(t, webappConfig)
	pool := netip.MustParsePrefix("100.64.0.0/16")
	for _, c := range clients {
		isIPv6 := strings.Contains(c.addr, ":")
		ask := func(site string, args ...string) seen {
			t.Helper()
			for _, lie := range lies {
				args = append(args, "--header", lie)
			}
			status, body := curl(t, w.client(c.addr), append(args, "--interface", c.addr, "--connect-to", site+":80:"+c.to+":80", "http://"+site+"/"+c.name)...)
			var s seen
			if err := json.Unmarshal([]byte(body), &s); err != nil || status != 200 {
				t.Fatalf("%s %s: %d %s %v", c.name, site, status, body, err)
			}
			if strings.Contains(fmt.Sprint(s), "10.6.6.6") || strings.Contains(fmt.Sprint(s), "2001:db8::6") {
				t.Errorf("%s %s believes a claim: %+v", c.name, site, s)
			}
			return s
		}
		inPool := func(site, addr string) {
			t.Helper()
			if a, err := netip.ParseAddr(addr); err != nil || !pool.Contains(a) {
				t.Errorf("%s %s: %q is not of the pool", c.name, site, addr)
			}
		}
		if s := ask("own.test"); s.Addr != lab.InsideV4.String() || s.XFF != c.addr || s.Unsafe != c.addr {
			t.Errorf("%s own: %+v", c.name, s)
		}
		s := ask("xff.test")
		if s.Addr != c.addr || (s.Long == false) != isIPv6 {
			t.Errorf("%s xff: %+v", c.name, s)
		}
		php.WaitLog(t, "client="+c.addr+" peer="+lab.InsideV4.String(), "/"+c.name+" ")
		s = ask("pseudo.test")
		if s.Long == false || s.Back != s.Addr || s.Column != s.Addr || s.Unsafe != s.Addr {
			t.Errorf("%s pseudo: %+v", c.name, s)
		}
		if isIPv6 {
			inPool("pseudo", s.Addr)
		}
		if want := map[bool]string{true: c.addr, false: ""}[isIPv6]; s.Real != want || !isIPv6 && s.Addr != c.addr {
			t.Errorf("%s pseudo: %+v, want the real address %q", c.name, s, want)
		}
		s = ask("pool.test")
		inPool("pool", s.Addr)
		if s.Long == false || s.Column != s.Addr {
			t.Errorf("%s pool: %+v", c.name, s)
		}
		// A chunked upload arrives whole.
		file := filepath.Join(w.Dir, "upload")
		mustWrite(t, file, strings.Repeat("0123456789", 30_000))
		if s := ask("pool.test", "--header", "Transfer-Encoding: chunked", "--header", "Expect:", "--request", "POST", "--upload-file", file); s.Length != 300_000 {
			t.Errorf("%s: %d bytes of a chunked upload arrived", c.name, s.Length)
		}
	}
}

// Connections to a backend that are kept are each client's own: the address of
// one client never stands under the request of another.
func TestPoolKeepsConnectionsApart(t *testing.T) {
	w := mustWorld(t)
	php := servers.StartPHP(t, w.Lab, nil)
	w.front(t, webappConfig)
	addrs := map[string]string{}
	for round := range 4 {
		for _, c := range clients {
			_, body := curl(t, w.client(c.addr), "--interface", c.addr, "--connect-to", "pool.test:80:"+c.to+":80", fmt.Sprintf("http://pool.test/round%d", round))
			var s seen
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if was, there := addrs[c.addr]; there && was != s.Addr {
				t.Errorf("%s was %s and is %s", c.addr, was, s.Addr)
			}
			addrs[c.addr] = s.Addr
		}
	}
	distinct := map[string]bool{}
	for _, a := range addrs {
		distinct[a] = true
		// The last request of each client came over a connection that it had
		// used before.
		php.WaitLog(t, "client="+a+" ", "GET /round3 ", "reused=")
		for line := range strings.Lines(php.Log()) {
			if strings.Contains(line, "client="+a+" ") && strings.Contains(line, "GET /round3 ") && strings.Contains(line, "reused=0 ") {
				t.Errorf("a new connection for each request: %s", line)
			}
		}
	}
	if len(distinct) != len(clients) {
		t.Errorf("%d clients have %d addresses: %v", len(clients), len(distinct), addrs)
	}
}
