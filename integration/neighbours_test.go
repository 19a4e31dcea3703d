package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// A visitor is one connection to a server that speaks first, and waits for a
// line after each of its own.
type visitor struct {
	conn     net.Conn
	lines    *bufio.Reader
	greeting string
}

// visit connects from one of the clients' addresses to a port of the front.
// The connection stays open until the end of the test.
func (w *world) visit(t *testing.T, from netip.Addr, port int) *visitor {
	t.Helper()
	n, at := w.Client6, "["+lab.Front6.String()+"]"
	if from.Is4() {
		n, at = w.Client4, lab.FrontV4.String()
	}
	line, conn, err := servers.Greeting(t, n, from, fmt.Sprintf("%s:%d", at, port))
	if err != nil && line == "" {
		line = err.Error()
	}
	v := &visitor{conn: conn, greeting: line}
	if conn != nil {
		v.lines = bufio.NewReader(conn)
	}
	return v
}

// ask sends a line and gives the last one of the answer: a reply code and a
// space, or the tag "a" of IMAP.
func (v *visitor) ask(line string) string {
	fmt.Fprintf(v.conn, "%s\r\n", line)
	for {
		answer, err := v.lines.ReadString('\n')
		switch {
		case err != nil:
			return err.Error()
		case len(answer) > 3 && answer[0] >= '2' && answer[0] <= '5' && answer[3] == ' ', strings.HasPrefix(answer, "a "):
			return strings.TrimSpace(answer)
		}
	}
}

// threeWays leads to one server by the front's own address (ports 2001), by
// the pool (2002) and, where the server has a port for it, by PROXY v2 (2003).
func threeWays(port, proxied int) string {
	text := tunnelConfig + "\n[pool.default]\nprefix = \"100.64.0.0/16\"\n"
	for _, way := range []struct {
		name     string
		at, port int
		more     string
	}{
		{"own", 2001, port, "source = \"own\"\nallow_open_relay = true\n"},
		{"pool", 2002, port, "source = \"pool\"\n"},
		{"proxy", 2003, proxied, "announce = [\"proxy-v2\"]\n"},
	} {
		if way.port != 0 {
			text += fmt.Sprintf("\n[forward.%[1]s]\nlisten = [\"tunnel:%[2]d\", \"%[3]s:%[2]d\"]\nto = \"%[4]s:%[5]d\"\n%[6]s",
				way.name, way.at, lab.FrontV4, lab.BackendV4, way.port, way.more)
		}
	}
	return text
}

// A neighbour uses up what a server gives to one address. Where the server
// sees all clients as the front, that shuts out everybody; by the pool, and by
// PROXY, the neighbour alone.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	greeted := func(v *visitor) bool { return strings.HasPrefix(v.greeting, "220 ") }
	for _, row := range []struct {
		name          string
		start         func(testing.TB, *lab.Lab)
		port, proxied int
		bound         int // connections of one address
		isIn          func(*visitor) bool
	}{
		{"vsftpd-max-per-ip", func(t testing.TB, l *lab.Lab) { servers.StartVsftpd(t, l, "max_per_ip=2") }, 21, 0, 2, greeted},
		{"Dovecot-userip", func(t testing.TB, l *lab.Lab) { servers.StartDovecot(t, l) }, 143, 10143, 2, func(v *visitor) bool {
			return strings.HasPrefix(v.greeting, "* OK") && strings.HasPrefix(v.ask("a LOGIN joe secret"), "a OK")
		}},
		{"Postfix-rate", func(t testing.TB, l *lab.Lab) {
			servers.StartPostfix(t, l, "all", "smtpd_client_connection_rate_limit = 3", "smtpd_client_event_limit_exceptions =")
		}, 25, 10025, 3, greeted},
		{"Sendmail-rate", func(t testing.TB, l *lab.Lab) { servers.StartSendmail(t, l, lab.BackendV4, "ClientRate:\t3\n") }, 25, 0, 3, greeted},
		{"Sendmail-connections", func(t testing.TB, l *lab.Lab) { servers.StartSendmail(t, l, lab.BackendV4, "ClientConn:\t2\n") }, 25, 0, 2, greeted},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := mustWorld(t)
			row.start(t, w.Lab)
			w.front(t, threeWays(row.port, row.proxied))
			ways := map[string]int{"own": 2001, "pool": 2002, "proxy": 2003}
			if row.proxied == 0 {
				delete(ways, "proxy")
			}
			for way, port := range ways {
				for range row.bound {
					if v := w.visit(t, lab.Client6, port); !row.isIn(v) {
						t.Fatalf("%s: the neighbour is not in at first: %q", way, v.greeting)
					}
				}
				if v := w.visit(t, lab.Client6, port); row.isIn(v) {
					t.Errorf("%s: one more of the neighbour is in: %q; the test proves nothing", way, v.greeting)
				}
				for _, innocent := range []netip.Addr{lab.Denied6, lab.Client4} {
					v := w.visit(t, innocent, port)
					if got := row.isIn(v); got != (way != "own") {
						t.Errorf("%s: the innocent %s is in: %v, want %v: %q", way, innocent, got, way != "own", v.greeting)
					}
				}
			}
		})
	}
}

// A mail server relays for its own network, where the front is: by the front's
// own address the Internet sends mail through it. By the pool and by PROXY it
// takes what is for itself, and nothing else.
func TestMailIsNoOpenRelay(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		start   func(testing.TB, *lab.Lab)
		proxied int
		mailbox string
	}{
		{"Postfix", func(t testing.TB, l *lab.Lab) { servers.StartPostfix(t, l, "all") }, 10025, "joe@example.test"},
		{"Sendmail", func(t testing.TB, l *lab.Lab) { servers.StartSendmail(t, l, lab.BackendV4, "") }, 0, "root@example.test"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := mustWorld(t)
			row.start(t, w.Lab)
			w.front(t, threeWays(25, row.proxied))
			ways := map[string]int{"own": 2001, "pool": 2002, "proxy": 2003}
			if row.proxied == 0 {
				delete(ways, "proxy")
			}
			for way, port := range ways {
				for _, client := range []netip.Addr{lab.Client6, lab.Client4} {
					v := w.visit(t, client, port)
					for _, line := range []string{"EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<" + row.mailbox + ">"} {
						if got := v.ask(line); !strings.HasPrefix(got, "250 ") {
							t.Errorf("%s, %s: %q: %q", way, client, line, got)
						}
					}
					got := v.ask("RCPT TO:<victim@elsewhere.example>")
					if relays := strings.HasPrefix(got, "250 "); relays != (way == "own") {
						t.Errorf("%s, %s: relays: %v, want %v: %q", way, client, relays, way == "own", got)
					}
				}
			}
		})
	}
}

// Sendmail, which knows no PROXY protocol, takes mail from clients of both
// families and writes into it who brought it: an address of the pool each.
func TestSendmail(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	sendmail := servers.StartSendmail(t, w.Lab, lab.BackendV4, "")
	w.front(t, threeWays(25, 0))
	for _, c := range clients[:2] {
		v := w.visit(t, netip.MustParseAddr(c.addr), 2002)
		for _, row := range []struct{ line, want string }{
			{"EHLO " + c.name + ".example", "250 "},
			{"MAIL FROM:<a@example.org>", "250 "},
			{"RCPT TO:<root@example.test>", "250 "},
			{"DATA", "354 "},
			{"Subject: " + c.name + "\r\n\r\nTake off your shoes.\r\n.", "250 "},
		} {
			if got := v.ask(row.line); !strings.HasPrefix(got, row.want) {
				t.Fatalf("%s: %q: %q", c.name, row.line, got)
			}
		}
		sendmail.WaitLog(t, "Received: from "+c.name+".example", "[100.64.")
	}
}

// Apache shuts out the address that its log tells of a client who misbehaves.
// Where it sees all clients as the front that shuts out everybody; by the pool,
// by PROXY and by X-Forwarded-For, that client alone.
func TestApacheBansOneClient(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	servers.StartApache(t, w.Lab, "Require all granted\n    Require not ip 10.0.0.1 100.64.0.1 2001:db8:6::10")
	w.front(t, threeWays(80, 8080))
	ways := []struct {
		name, port string
		innocent   bool // is served
	}{{"own", "2001", false}, {"pool", "2002", true}, {"proxy", "2003", true}}
	for _, way := range ways {
		for i, addr := range []string{lab.Client6.String(), lab.Denied6.String(), lab.Client4.String()} {
			to := front6
			if i == 2 {
				to = front4
			}
			status, _ := curl(t, w.client(addr), "--interface", addr, "http://"+to+":"+way.port+"/")
			want := map[bool]int{true: 200, false: 403}[i > 0 && way.innocent]
			if status != want {
				t.Errorf("%s: %s got %d, want %d", way.name, addr, status, want)
			}
		}
	}
}

// Postfix' postscreen lets nobody in who speaks before it greets: it knows the
// one who did by the true address, and makes another wait for its greeting no
// longer than it wants to.
func TestPostscreen(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	postfix := servers.StartPostfix(t, w.Lab, "all")
	w.front(t, tunnelConfig+fmt.Sprintf("\n[forward.mail]\nlisten = [\"tunnel:25\", \"%s:25\"]\nto = \"%s:10026\"\nprotocol = \"smtp\"\nannounce = [\"proxy-v2\"]\n", lab.FrontV4, lab.BackendV4))
	hasty := w.dial(t, lab.Denied6.String(), front6, 25)
	fmt.Fprint(hasty, "EHLO spammer.example\r\n")
	if text, _ := io.ReadAll(hasty); !strings.HasSuffix(string(text), "\r\n521 5.5.1 Protocol error\r\n") {
		t.Errorf("who speaks first got %q", text)
	}
	postfix.WaitLog(t, "postscreen", "PREGREET", "["+lab.Denied6.String()+"]")
	for _, c := range clients[:2] {
		began := time.Now()
		v := w.visit(t, netip.MustParseAddr(c.addr), 25)
		greeting, err := v.lines.ReadString('\n') // the first line is bait
		if waited := time.Since(began); !strings.HasPrefix(v.greeting, "220-") || !strings.HasPrefix(greeting, "220 ") || waited < time.Second {
			t.Errorf("%s: greeting %q, %q, %v after %v", c.name, v.greeting, greeting, err, waited)
		}
		for _, row := range []struct{ line, want string }{
			{"EHLO " + c.name + ".example", "250 "},
			{"MAIL FROM:<a@example.org>", "250 "},
			{"RCPT TO:<joe@example.test>", "250 "},
		} {
			if got := v.ask(row.line); !strings.HasPrefix(got, row.want) {
				t.Errorf("%s: %q: %q", c.name, row.line, got)
			}
		}
		postfix.WaitLog(t, "postscreen", "PASS NEW", "["+c.addr+"]")
		postfix.WaitLog(t, "smtpd", "connect from", "["+c.addr+"]")
	}
}

// sshd lets clients of both families in, and sees each as an address of the
// pool. Their files come back by sftp as they went.
func TestSSH(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	sshd := servers.StartSSH(t, w.Lab, 22)
	w.front(t, threeWays(22, 0))
	for _, c := range clients[:2] {
		at := strings.Trim(c.to, "[]")
		text, err := out(t, w.client(c.addr), sshd.Login(t, c.addr, at, "2002", "echo seen $SSH_CONNECTION")...)
		if err != nil || !strings.Contains(text, "seen 100.64.") {
			t.Errorf("%s: %v\n%s", c.name, err, text)
		}
		dir := t.TempDir()
		want := mustRandomFile(t, dir+"/here", 1<<20)
		batch := dir + "/batch"
		mustWrite(t, batch, fmt.Sprintf("put %[1]s/here %[1]s/there\nget %[1]s/there %[1]s/again\n", dir))
		text, err = out(t, w.client(c.addr), sshd.Sftp(t, batch, c.to, "2002")...)
		if err != nil {
			t.Fatalf("%s: sftp: %v\n%s", c.name, err, text)
		}
		if sum, n := mustSum(t, dir+"/again"); sum != want {
			t.Errorf("%s: sftp brought %d bytes back, and not those sent", c.name, n)
		}
	}
}
