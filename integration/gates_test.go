package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// gatesConfig has each gate at a site and at a forward, rules in shadow mode, and a list for bans.
var gatesConfig = tunnelConfig + fmt.Sprintf(`
[lists]
banned = ["203.0.113.200"]

[admin]
listen = "127.0.0.1:6464"

[site.limited]
hosts  = ["default"]
listen = ["tunnel:80", "%[1]s:80"]
to     = "%[2]s:80"
access = ["deny banned", "limit 2/10m", "allow all"]

[site.shadow]
hosts  = ["shadow.example"]
listen = ["tunnel:80", "%[1]s:80"]
to     = "%[2]s:80"
mode   = "shadow"
access = ["deny ipv6", "limit 1/10m", "allow ipv4"]

[forward.one]
listen = ["tunnel:7000", "%[1]s:7000"]
to     = "%[2]s:7000"
access = ["deny banned", "conns 1", "allow all"]
`, lab.FrontV4, lab.BackendV4)

// Gates, shadow mode and bans, from the wire to the server and in the metrics.
func TestGatesAndBans(t *testing.T) {
	w := mustWorld(t)
	w.mustAliases(t, "2001:db8:6::11", "2001:db8:6:1::10", inside4)
	servers.StartApache(t, w.Lab, "Require all granted")
	startEcho(t, w, lab.BackendV4.String()+":7000")
	p := w.front(t, gatesConfig)
	t.Run("limit", func(t *testing.T) { checkLimit(t, w) })
	t.Run("shadow", func(t *testing.T) { checkShadow(t, w, p) })
	t.Run("conns", func(t *testing.T) { checkConns(t, w) })
	t.Run("metrics", func(t *testing.T) { checkGateMetrics(t, w) })
	t.Run("bans", func(t *testing.T) { checkBans(t, w, p) })
}

var (
	front6, front4 = "[" + lab.Front6.String() + "]", lab.FrontV4.String()
	retryAfter     = regexp.MustCompile(`(?i)\r\nretry-after: ([0-9]+)\r\n`)
)

// checkLimit: above the bound 429 with the seconds to wait; the other family has its own count.
func checkLimit(t *testing.T, w *world) {
	for i, want := range []int{200, 200, 429, 429} {
		status, answer := curl(t, w.Client6, "--interface", lab.Client6.String(), "--include", "http://"+front6+"/")
		wait := retryAfter.FindStringSubmatch(answer)
		if status != want || (wait != nil) != (want == 429) {
			t.Errorf("request %d: %d, Retry-After %q, want %d", i+1, status, wait, want)
		}
		if wait == nil {
			continue
		}
		if n, err := strconv.Atoi(wait[1]); err != nil || n < 1 || n > 600 {
			t.Errorf("Retry-After %q, want 1 to 600 seconds", wait[1])
		}
	}
	if status := w.get(t, lab.Client4.String(), front4); status != 200 {
		t.Errorf("the first request by IPv4: %d", status)
	}
	w.checkExplains(t, "limited", lab.Client6.String(), `: deny by "limit 2/10m" at `)
	w.checkExplains(t, "limited", "2001:db8:6:1::10", `"limit 2/10m": passes, as 2 of 16 used by 2001:db8:6::/56`)
	w.checkExplains(t, "limited", lab.Client4.String(), `"limit 2/10m": passes, as 1 of 2 used by `+lab.Client4.String())
}

// checkExplains asks "genkan explain" what the running Genkan would do.
func (w *world) checkExplains(t *testing.T, service, client, want string) {
	t.Helper()
	if said := w.ask(t, "explain", "-c", w.ConfigFile(w.Front), service, client); !strings.Contains(said, want) {
		t.Errorf("explain %s %s: %q, want %q", service, client, said, want)
	}
}

// checkShadow: all are let in, and the log says who would not have been.
func checkShadow(t *testing.T, w *world, p *lab.Daemon) {
	for _, c := range []struct{ addr, to, rule string }{
		{lab.Client6.String(), front6, "deny ipv6"},
		{lab.Client4.String(), front4, ""},
		{lab.Client4.String(), front4, "limit 1/10m"},
	} {
		if status := w.get(t, c.addr, c.to, "Host: shadow.example"); status != 200 {
			t.Errorf("%s in shadow mode: %d", c.addr, status)
		}
		if c.rule != "" {
			mustLog(t, p, "would be denied", "shadow", c.addr, c.rule, "front.toml:")
		}
	}
}

// checkConns: one connection a /64 and an IPv4 address; its end lets the next one in.
func checkConns(t *testing.T, w *world) {
	first := w.dial(t, lab.Client6.String(), front6, 7000)
	mustEcho(t, first)
	for _, c := range []struct {
		addr, to string
		in       bool
	}{
		{lab.Client6.String(), front6, false},
		{"2001:db8:6::11", front6, false},
		{"2001:db8:6:1::10", front6, true},
		{lab.Client4.String(), front4, true},
	} {
		if err := w.enter(t, c.addr, c.to); (err == nil) != c.in {
			t.Errorf("%s beside %s: %v, want in: %v", c.addr, lab.Client6, err, c.in)
		}
	}
	w.checkExplains(t, "one", "2001:db8:6::11", `: deny by "conns 1" at `)
	w.checkExplains(t, "one", "2001:db8:6:1::10", `"conns 1": passes, as `)
	first.Close()
	waitUntil(t, patience, "the next connection", func() error { return w.enter(t, "2001:db8:6::11", front6) })
}

// enter connects to port 7000, sees its bytes come back, and goes. The error of one that is not let in is a reset.
func (w *world) enter(t *testing.T, c, to string) error {
	t.Helper()
	conn, err := w.tryDial(t, c, to, 7000)
	if err == nil {
		err = echo(conn)
		conn.Close()
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%s: %v, want a reset or to be let in", c, err)
	}
	return err
}

func echo(c io.ReadWriter) error {
	if _, err := io.WriteString(c, "x"); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func mustEcho(t *testing.T, c io.ReadWriter) {
	t.Helper()
	if err := echo(c); err != nil {
		t.Fatalf("not let in: %v", err)
	}
}

// checkGateMetrics: what has happened so far is in the metrics, by rule.
func checkGateMetrics(t *testing.T, w *world) {
	inject(t, w, udp6in4(lab.RelayV4, netip.MustParseAddr("::ffff:192.0.2.10"), "forged"))
	dropped := regexp.MustCompile(`\ngenkan_tunnel_drops_total\{datapath="[a-z]+",front="[^"]+",interface="tun6rd",reason="[a-z0-9-]+"\} [1-9]`)
	var status int
	var body string
	waitUntil(t, patience, "dropped packet in the metrics", func() error {
		if status, body = curl(t, w.Front, "http://127.0.0.1:6464/metrics"); !dropped.MatchString(body) {
			return errors.New(body)
		}
		return nil
	})
	for _, want := range []string{
		`\ngenkan_rule_verdicts_total\{at="[^"]*front.toml:[0-9:]+",front="[^"]+",kind="site",name="limited",rule="limit 2/10m",verdict="gated"\} 2\n`,
		`\ngenkan_rule_verdicts_total\{[^}]*name="one",rule="conns 1",verdict="gated"\} [2-9]`,
		`\ngenkan_service_shadow_denied_total\{[^}]*name="shadow"\} 2\n`,
		`\ngenkan_service_denied_total\{[^}]*name="shadow"\} 0\n`,
		`\ngenkan_tunnel_packets_total\{[^}]*direction="received"[^}]*\} [1-9]`,
		`\ngenkan_connections_accepted_total\{family="ipv6",[^}]*\} [1-9]`,
		`\ngenkan_ready\{family="ipv6",[^}]*\} 1\n`,
	} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("/metrics (%d) has no %s", status, want)
		}
	}
	for _, address := range []string{lab.Client6.String(), lab.Client4.String(), "2001:db8:6:"} {
		if strings.Contains(body, address) {
			t.Errorf("/metrics tells of the client %s", address)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
	if status, _ := curl(t, w.Front, "--header", "Host: rebound.example", "http://127.0.0.1:6464/metrics"); status != 421 {
		t.Errorf("/metrics for another Host: %d, want 421", status)
	}
}

// inside4 has lab.Client4 inside, by 6to4.
const inside4 = "2002:c000:20a::1"

// checkBans: a ban holds at once, cuts what is open, outlives a restart, and ends at its time.
func checkBans(t *testing.T, w *world, p *lab.Daemon) {
	const all6 = "2001:db8:6::/48"
	cut, stays := w.dial(t, lab.Client6.String(), front6, 7000), w.dial(t, lab.Client4.String(), front4, 7000)
	mustEcho(t, cut)
	mustEcho(t, stays)
	if said := w.ask(t, "list", "add", "banned", all6, "--for", "1h", "--cut"); !strings.HasSuffix(said, "\n1 connection cut\n") {
		t.Fatalf("list add --cut: %q", said)
	}
	if _, err := cut.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the banned client's connection: %v, want a reset", err)
	}
	mustEcho(t, stays)
	stays.Close()
	checkBanned := func(when string) {
		t.Helper()
		if err := w.enter(t, lab.Client6.String(), front6); err == nil {
			t.Errorf("%s, the banned client is let in", when)
		}
		if status := w.get(t, "2001:db8:6:1::10", front6); status != 403 {
			t.Errorf("%s, the banned client's request: %d, want 403", when, status)
		}
	}
	checkBanned("at once")
	inside := w.dial(t, inside4, front6, 7000)
	mustEcho(t, inside)
	if said := w.ask(t, "list", "add", "banned", lab.Client4.String(), "--for", "10s", "--cut"); !strings.Contains(said, " until ") {
		t.Fatalf("list add --for: %q", said)
	}
	if _, err := inside.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection of a client with the banned address inside: %v, want a reset", err)
	}
	if err := p.Stop(patience); err != nil {
		t.Fatalf("exit after SIGTERM: %v\n%s", err, p.Output())
	}
	w.front(t, gatesConfig)
	checkBanned("after a restart")
	waitUntil(t, patience, "the end of the short ban", func() error { return w.enter(t, lab.Client4.String(), front4) })
	checkBanned("after the end of another ban")
	if said := w.ask(t, "list", "del", "banned", all6); said != "banned: took away "+all6+"\n" {
		t.Errorf("list del: %q", said)
	}
	waitUntil(t, patience, "the end of the ban", func() error { return w.enter(t, lab.Client6.String(), front6) })
}

// ask runs a subcommand beside the Genkan of the front and returns what it says.
func (w *world) ask(t *testing.T, args ...string) string {
	t.Helper()
	cmd, err := w.Private(w.Front, w.program, args...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, p)
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("genkan %q does not end", args)
	}
	return p.Output()
}

// startEcho is a server that sends back what it gets.
func startEcho(t *testing.T, w *world, addr string) {
	t.Helper()
	serve(t, w, addr, func(c net.Conn) { _, _ = io.Copy(c, c) })
}
