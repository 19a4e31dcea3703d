package integration

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// out runs a program in a namespace and returns what it wrote.
func out(t *testing.T, n *lab.Namespace, command ...string) (string, error) {
	t.Helper()
	return outWithin(t, n, patience, command...)
}

// outWithin is out with a time of its own.
func outWithin(t *testing.T, n *lab.Namespace, within time.Duration, command ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return n.Output(ctx, command[0], command[1:]...)
}

// sshd takes two unauthenticated connections of one address. Behind a proxy
// that has one address, a client that holds two shuts all others out; behind
// the pool it shuts out itself.
func TestPoolKeepsClientsApart(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	sshd := servers.StartSSH(t, w.Lab, 22)
	front := w.front(t, tunnelConfig+fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[forward.own]
listen = "tunnel:2201"
to     = "%[1]s:22"

[forward.pool]
listen = "tunnel:2202"
to     = "%[1]s:22"
source = "pool"
`, lab.BackendV4))
	for _, row := range []struct {
		name, port string
		innocent   bool // the other client gets in
	}{
		{"own", "2201", false},
		{"pool", "2202", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			to := "[" + lab.Front6.String() + "]:" + row.port
			for range 2 {
				line, _, err := servers.Greeting(t, w.Client6, lab.Client6, to)
				if err != nil || !strings.HasPrefix(line, "SSH-2.0-") {
					t.Fatalf("greeting %q, %v", line, err)
				}
			}
			line, _, err := servers.Greeting(t, w.Client6, lab.Client6, to)
			if strings.HasPrefix(line, "SSH-2.0-") {
				t.Fatalf("a third connection of one client: %q, %v; the test proves nothing", line, err)
			}
			line, _, err = servers.Greeting(t, w.Client6, lab.Denied6, to)
			if got := strings.HasPrefix(line, "SSH-2.0-"); got != row.innocent {
				t.Errorf("the innocent client: greeting %q, %v, want it in: %v", line, err, row.innocent)
			}
		})
	}
	login := sshd.Login(t, lab.Denied6.String(), lab.Front6.String(), "2202", "echo $SSH_CONNECTION")
	text, err := out(t, w.Client6, login...)
	fields := strings.Fields(text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:])
	if err != nil || len(fields) == 0 {
		t.Fatalf("ssh through the pool: %v\n%s", err, text)
	}
	seen, err := netip.ParseAddr(fields[0])
	if err != nil || !netip.MustParsePrefix("100.64.0.0/16").Contains(seen) {
		t.Errorf("sshd saw %q, want an address of the pool", fields[0])
	}
	sshd.WaitLog(t, "Accepted publickey for root from "+fields[0])
	mustLog(t, front, "2001:db8:bad::", fields[0])
}

// announced are the servers that take the PROXY protocol, all IPv4 only, and
// what their logs call the client.
const announced = `
[forward.apache-%[2]s]
listen   = ["tunnel:80%[1]s", "%[4]s:80%[1]s"]
to       = "%[3]s:8080"
announce = ["proxy-%[2]s"]

[forward.nginx-%[2]s]
listen   = ["tunnel:81%[1]s", "%[4]s:81%[1]s"]
to       = "%[3]s:8091"
announce = ["proxy-%[2]s"]

[forward.pop3-%[2]s]
listen   = ["tunnel:82%[1]s", "%[4]s:82%[1]s"]
to       = "%[3]s:10110"
announce = ["proxy-%[2]s"]

[forward.imap-%[2]s]
listen   = ["tunnel:83%[1]s", "%[4]s:83%[1]s"]
to       = "%[3]s:10143"
announce = ["proxy-%[2]s"]

[forward.smtp-%[2]s]
listen   = ["tunnel:84%[1]s", "%[4]s:84%[1]s"]
to       = "%[3]s:10025"
announce = ["proxy-%[2]s"]
`

// Apache, nginx, Dovecot and Postfix, which have no IPv6, log the true address
// of an IPv6 client, and of an IPv4 one, by PROXY v1 and v2.
func TestServersLearnTheClient(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	apache := servers.StartApache(t, w.Lab, "Require ip 2001:db8:6::/64 192.0.2.10")
	nginx := servers.StartNginx(t, w.Lab)
	dovecot := servers.StartDovecot(t, w.Lab)
	postfix := servers.StartPostfix(t, w.Lab, "all")
	config := tunnelConfig
	for n, version := range []string{"v1", "v2"} {
		config += fmt.Sprintf(announced, fmt.Sprintf("0%d", n+1), version, lab.BackendV4, lab.FrontV4)
	}
	w.front(t, config)
	mail := w.Dir + "/mail.txt"
	mustWrite(t, mail, strings.ReplaceAll(servers.Mail, "\n", "\r\n"))
	for n, version := range []string{"v1", "v2"} {
		for _, c := range clients {
			t.Run(version+"-"+c.name, func(t *testing.T) {
				at := func(hundreds int) string { return fmt.Sprintf("%s:%d%02d", c.to, hundreds, n+1) }
				ask := func(args ...string) (string, error) {
					return out(t, w.client(c.addr), append([]string{"curl", "-sS", "--noproxy", "*", "--max-time", "20", "--interface", c.addr}, args...)...)
				}
				// Apache itself refuses what its own rules do not let in.
				body, err := ask("http://" + at(80) + "/?" + version)
				if allowed := !c.denied; err != nil || (body == servers.Page) != allowed {
					t.Errorf("Apache: %q, %v, want allowed: %v", body, err, allowed)
				}
				apache.WaitLog(t, "client="+c.addr+" peer="+lab.InsideV4.String(), "?"+version)
				if body, err := ask("http://" + at(81) + "/?" + version); err != nil || body != servers.Page {
					t.Errorf("nginx: %q, %v", body, err)
				}
				nginx.WaitLog(t, "client="+c.addr+" peer="+lab.InsideV4.String(), "?"+version)
				if body, err := ask("-u", "joe:secret", "pop3://"+at(82)+"/1"); err != nil || !strings.Contains(body, "Take off your shoes") {
					t.Errorf("POP3: %q, %v", body, err)
				}
				dovecot.WaitLog(t, "pop3-login", "rip="+c.addr)
				if body, err := ask("-u", "joe:secret", "imap://"+at(83)+"/INBOX;UID=1"); err != nil || !strings.Contains(body, "Take off your shoes") {
					t.Errorf("IMAP: %q, %v", body, err)
				}
				dovecot.WaitLog(t, "imap-login", "rip="+c.addr)
				if body, err := ask("--mail-from", "a@example.org", "--mail-rcpt", "joe@example.test", "-T", mail, "smtp://"+at(84)); err != nil {
					t.Errorf("SMTP: %q, %v", body, err)
				}
				postfix.WaitLog(t, "smtpd", "client=", "["+c.addr+"]")
				// Behind the PROXY header, nobody is in Postfix' own subnet.
				if body, err := ask("--mail-from", "a@example.org", "--mail-rcpt", "victim@elsewhere.example", "-T", mail, "smtp://"+at(84)); err == nil {
					t.Errorf("open relay: mail to elsewhere was taken: %q", body)
				}
			})
		}
	}
}

// A Postfix that is told to speak IPv4 only refuses a PROXY header with an
// IPv6 client in it. It takes one with the client's pool address.
func TestPostfixStrictlyIPv4(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	postfix := servers.StartPostfix(t, w.Lab, "ipv4")
	forward := func(name string, port int, more string) string {
		return fmt.Sprintf("\n[forward.%s]\nlisten = \"tunnel:%d\"\nto = \"%s:10025\"\n%s", name, port, lab.BackendV4, more)
	}
	w.front(t, tunnelConfig+"\n[pool.default]\nprefix = \"100.64.0.0/16\"\n"+
		forward("client-v1", 2501, "announce = [\"proxy-v1\"]\n")+
		forward("client-v2", 2502, "announce = [\"proxy-v2\"]\n")+
		forward("pool-v1", 2503, "announce = [\"proxy-v1\"]\nannounce_address = \"pool\"\n")+
		forward("pool-v2", 2504, "announce = [\"proxy-v2\"]\nannounce_address = \"pool\"\n"))
	for _, row := range []struct {
		name  string
		port  int
		taken bool
	}{
		{"client-v1", 2501, false},
		{"client-v2", 2502, false},
		{"pool-v1", 2503, true},
		{"pool-v2", 2504, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			line, _, err := servers.Greeting(t, w.Client6, lab.Client6, fmt.Sprintf("[%s]:%d", lab.Front6, row.port))
			if got := strings.HasPrefix(line, "220 "); got != row.taken {
				t.Errorf("greeting %q, %v, want 220: %v", line, err, row.taken)
			}
		})
	}
	postfix.WaitLog(t, "smtpd", "connect from", "[100.64.")
}
