package integration

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/integration/servers"
)

// dnsConfig has one preset forward on port 53 and one on port 5301 by which
// BIND sees all clients as the front's own address.
var dnsConfig = tunnelConfig + fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[forward.dns]
listen   = ["tunnel:53", "udp/tunnel:53", "%[1]s:53", "udp/%[1]s:53"]
to       = "%[2]s:53"
protocol = "dns"

[forward.own]
listen   = ["tunnel:5301", "udp/tunnel:5301"]
to       = "%[2]s:53"
protocol = "dns"
source   = "own"
allow_open_relay = true
`, lab.FrontV4, lab.BackendV4)

// dig asks once, in a client's namespace; a lost answer is not asked for again.
func (w *world) dig(t *testing.T, from, port string, args ...string) string {
	t.Helper()
	program := require.Program(t, "dig", "bind9-dnsutils")
	at := lab.FrontV4.String()
	if strings.Contains(from, ":") {
		at = lab.Front6.String()
	}
	text, err := out(t, w.client(from), append([]string{program, "-b", from, "-p", port, "@" + at, "+tries=1", "+timeout=10"}, args...)...)
	if err != nil {
		t.Errorf("dig %q: %v\n%s", args, err, text)
	}
	return text
}

var digSize = regexp.MustCompile(`;; MSG SIZE  rcvd: (\d+)`)

// Answers of every size arrive at the first try over a path of 1280 bytes,
// those of more than 1232 over TCP, and none as fragments. A signed query is
// left as it is, and its signature holds.
func TestDNSAnswerSizes(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	bind := servers.StartBind(t, w.Lab, "recursion no;")
	w.front(t, dnsConfig)
	for _, c := range clients[:2] {
		for _, size := range servers.BindSizes() {
			name := fmt.Sprintf("s%d.example.test", size)
			for _, row := range []struct {
				how  string
				args []string
			}{
				{"udp", []string{"+nocookie", "+bufsize=4096"}},
				{"tcp", []string{"+nocookie", "+bufsize=4096", "+tcp"}},
			} {
				t.Run(fmt.Sprintf("%s-%s-%d", c.name, row.how, size), func(t *testing.T) {
					text := w.dig(t, c.addr, "53", append(row.args, name, "TXT")...)
					limit := map[string]int{"ipv6": 1232, "ipv4": 4096}[c.name]
					again := strings.Contains(text, "retrying in TCP mode")
					if want := row.how == "udp" && size > limit; again != want {
						t.Errorf("asked again over TCP: %v, want %v", again, want)
					}
					if got := digSize.FindStringSubmatch(text); !strings.Contains(text, "status: NOERROR") || got == nil || got[1] != fmt.Sprint(size) {
						t.Errorf("dig got %v bytes\n%.2000s", got, text)
					}
				})
			}
		}
		t.Run(c.name+"-tsig", func(t *testing.T) {
			text := w.dig(t, c.addr, "53", "+bufsize=4096", "-y", "hmac-sha256:lab:"+servers.BindKey, "s1355.example.test", "TXT")
			if !strings.Contains(text, "status: NOERROR") || strings.Contains(text, "retrying in TCP mode") || strings.Contains(text, "Couldn't verify") {
				t.Errorf("a signed query:\n%.2000s", text)
			}
		})
	}
	bind.WaitLog(t, "client @", " 100.64.", "s512.example.test")
}

// BIND as it is installed recurses for its own networks, where the front is.
// Through a forward of the front's own address the Internet may use it; through
// the pool it may not.
func TestDNSIsNoOpenResolver(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	startElsewhere(t, w)
	servers.StartBind(t, w.Lab, "")
	w.front(t, dnsConfig)
	for _, row := range []struct{ name, port, want string }{
		{"own", "5301", "198.51.100.80"},
		{"pool", "53", "status: REFUSED"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if text := w.dig(t, lab.Client6.String(), row.port, "www.elsewhere", "A"); !strings.Contains(text, row.want) {
				t.Errorf("want %s:\n%s", row.want, text)
			}
		})
	}
}

// startElsewhere serves the names that BIND has to ask somebody else for.
func startElsewhere(t *testing.T, w *world) {
	t.Helper()
	var conn net.PacketConn
	err := w.Backend.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", lab.Backend2.String()+":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Authoritative = true
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(198, 51, 100, 80),
		}}
		_ = rw.WriteMsg(m)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
}

// BIND limits what one address is answered. A client that asks 200 times uses
// up the limit of all clients when they have the front's address, of itself
// when it has one of the pool.
func TestDNSRateLimit(t *testing.T) {
	w := mustWorld(t)
	servers.StartBind(t, w.Lab, "recursion no; rate-limit { responses-per-second 5; ipv4-prefix-length 32; slip 0; };")
	w.front(t, dnsConfig)
	for _, row := range []struct {
		name, port string
		innocent   int // answers that the other client gets of five
	}{
		{"pool", "53", 5},
		{"own", "5301", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := w.askDNS(t, lab.Client6, row.port, 200); got == 200 {
				t.Error("the client that asks too much got all its answers; the test proves nothing")
			}
			if got := w.askDNS(t, lab.Denied6, row.port, 5); got != row.innocent {
				t.Errorf("the innocent client got %d of 5 answers, want %d", got, row.innocent)
			}
		})
	}
}

// askDNS asks n times at once and counts the answers, until none came for a
// second.
func (w *world) askDNS(t *testing.T, from netip.Addr, port string, n int) (answers int) {
	t.Helper()
	var conn net.Conn
	err := w.Client6.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err = d.Dial("udp", "["+lab.Front6.String()+"]:"+port)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	query, err := new(dns.Msg).SetQuestion("www.example.test.", dns.TypeAAAA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := conn.Write(query); err != nil {
			t.Fatal(err)
		}
	}
	for buf := make([]byte, 1<<16); ; answers++ {
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			return answers
		}
	}
}

// Unbound, which has no IPv6, learns the true client by PROXY v2, over UDP and
// TCP: its own rules hold, and its limit bites who asks too much alone.
func TestDNSByProxyProtocol(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	const innocent = "2001:db8:6:1::10"
	w.mustAliases(t, innocent)
	unbound := servers.StartUnbound(t, w.Lab)
	w.front(t, tunnelConfig+fmt.Sprintf(`
[forward.dns]
listen   = ["tunnel:53", "udp/tunnel:53", "%[1]s:53", "udp/%[1]s:53"]
to       = "%[2]s:5300"
protocol = "dns"
announce = ["proxy-v2"]
`, lab.FrontV4, lab.BackendV4))
	for _, c := range clients {
		for _, how := range []string{"+notcp", "+tcp"} {
			want := "192.0.2.80"
			if c.denied {
				want = "status: REFUSED"
			}
			if text := w.dig(t, c.addr, "53", how, "www.example.test", "A"); !strings.Contains(text, want) {
				t.Errorf("%s %s: want %q in:\n%s", c.name, how, want, text)
			}
		}
		if !c.denied {
			unbound.WaitLog(t, c.addr+" www.example.test. A IN")
		}
	}
	if got := w.askDNS(t, lab.Client6, "53", 200); got > 150 {
		t.Errorf("the client that asks too much got %d of 200 answers; the test proves nothing", got)
	}
	if got := w.askDNS(t, netip.MustParseAddr(innocent), "53", 5); got != 5 {
		t.Errorf("the innocent client got %d of 5 answers", got)
	}
}

// With ecs, BIND logs the network of each client beside the address in the pool,
// over UDP and TCP, and the client's answers have nothing of it.
func TestDNSClientSubnet(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	bind := servers.StartBind(t, w.Lab, "recursion no;")
	w.front(t, strings.Replace(dnsConfig, "protocol = \"dns\"\n", "protocol = \"dns\"\necs = true\n", 1))
	for _, c := range clients[:2] {
		for _, how := range []string{"+notcp", "+tcp"} {
			name := "www.example.test"
			text := w.dig(t, c.addr, "53", how, "+subnet=198.51.100.0/24", name, "A")
			if !strings.Contains(text, "192.0.2.80") || strings.Contains(text, "CLIENT-SUBNET: 2001") || strings.Contains(text, "192.0.2.0/24") {
				t.Errorf("%s %s:\n%s", c.name, how, text)
			}
			network := map[string]string{"ipv6": "[ECS 2001:db8:6::/56/0]", "ipv4": "[ECS 192.0.2.0/24/0]"}[c.name]
			flag := map[string]string{"+notcp": "E(0)", "+tcp": "E(0)T"}[how]
			bind.WaitLog(t, " 100.64.", name, flag, network)
		}
	}
}
