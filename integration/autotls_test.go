package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// autoForwards are mail and FTP by TLS whose certificate comes by itself: from
// the first byte, and by STARTTLS. from is what tls says of the first kind.
func autoForwards(from, more string) string {
	text := ""
	for _, f := range []struct {
		name, protocol string
		port           string
		to             string
		tls            string
	}{
		{"imaps", "imap", "993", lab.BackendV4.String() + ":143", from},
		{"imap", "imap", "143", lab.BackendV4.String() + ":143", "starttls"},
		{"pop3s", "pop3", "995", lab.BackendV4.String() + ":110", from},
		{"pop3", "pop3", "110", lab.BackendV4.String() + ":110", "starttls"},
		{"smtps", "smtp", "465", lab.BackendV4.String() + ":25", from},
		{"smtp", "smtp", "25", lab.BackendV4.String() + ":25", "starttls"},
		{"sendmails", "smtp", "4650", lab.Backend2.String() + ":25", from},
		{"sendmail", "smtp", "2500", lab.Backend2.String() + ":25", "starttls"},
		{"ftp", "ftp", "21", lab.BackendV4.String() + ":21", from},
	} {
		listen := fmt.Sprintf("\"tunnel:%[1]s\", \"%[2]s:%[1]s\"", f.port, lab.FrontV4)
		if f.name == "ftp" {
			listen += fmt.Sprintf(", \"tunnel:990\", \"%s:990\"", lab.FrontV4)
		}
		text += fmt.Sprintf("\n[forward.%s]\nlisten = [%s]\nto = %q\nprotocol = %q\ntls = %q\nhosts = [\"mail.example.jp\"]\n%s", f.name, listen, f.to, f.protocol, f.tls, more)
	}
	return text
}

// Dovecot, Postfix, Sendmail and vsftpd, which have no TLS, serve IMAPS, POP3S,
// SMTPS, FTPS and STARTTLS by a certificate that the front got from a CA, and
// clients of both families check it. What is in none of its names is not shown.
func TestForwardsGetCertificates(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	names := startNames(t, w.Client6, lab.Client6)
	names.Set("mail.example.jp", lab.Front6)
	ca := startPebble(t, w, w.Client6, lab.Client6, names.Addr)
	servers.StartDovecot(t, w.Lab)
	servers.StartPostfix(t, w.Lab, "all")
	servers.StartSendmail(t, w.Lab, lab.Backend2, "")
	vsftpd := servers.StartVsftpd(t, w.Lab)
	mustWrite(t, filepath.Join(vsftpd.Dir, "root/pub/file"), "Take off your shoes.\n")
	mail := filepath.Join(w.Dir, "mail.txt")
	mustWrite(t, mail, strings.ReplaceAll(servers.Mail, "\n", "\r\n"))
	w.front(t, tunnelConfig+fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[acme]
ca       = "https://[%[1]s]:14000/dir"
ca_root  = %[2]q
resolver = "%[1]s"
profile  = "default"

[site."www.example.jp"]
listen = "tunnel:80"
to     = "%[3]s:80"
`, lab.Client6, ca.own, lab.BackendV4)+autoForwards("auto", ""))
	for _, c := range clients[:2] {
		ask := func(port, url string, args ...string) (string, error) {
			to := fmt.Sprintf("mail.example.jp:%s:%s", port, strings.Trim(c.to, "[]"))
			return out(t, w.client(c.addr), append([]string{"curl", "-sS", "--noproxy", "*", "--max-time", "20", "--interface", c.addr,
				"--cacert", ca.root, "--ssl-reqd", "--resolve", to, strings.Replace(url, "://", "://mail.example.jp:"+port, 1)}, args...)...)
		}
		waitUntil(t, patience, "certificate", func() error {
			text, err := ask("993", "imaps:///INBOX;UID=1", "-u", "joe:secret")
			if err != nil {
				err = fmt.Errorf("%w: %s", err, text)
			}
			return err
		})
		letter := []string{"--mail-from", "a@example.org", "-T", mail, "--mail-rcpt"}
		for _, row := range []struct {
			port, url string
			args      []string
			want      string
		}{
			{"993", "imaps:///INBOX;UID=1", []string{"-u", "joe:secret"}, "Take off your shoes."},
			{"143", "imap:///INBOX;UID=1", []string{"-u", "joe:secret"}, "Take off your shoes."},
			{"995", "pop3s:///1", []string{"-u", "joe:secret"}, "Take off your shoes."},
			{"110", "pop3:///1", []string{"-u", "joe:secret"}, "Take off your shoes."},
			{"465", "smtps://", append(letter, "joe@example.test"), ""},
			{"25", "smtp://", append(letter, "joe@example.test"), ""},
			{"4650", "smtps://", append(letter, "root@example.test"), ""},
			{"2500", "smtp://", append(letter, "root@example.test"), ""},
			{"21", "ftp:///pub/file", nil, "Take off your shoes."},
			{"990", "ftps:///pub/file", nil, "Take off your shoes."},
		} {
			if text, err := ask(row.port, row.url, row.args...); err != nil || !strings.Contains(text, row.want) {
				t.Errorf("%s: %s on port %s: %v, %q", c.name, row.url, row.port, err, text)
			}
		}
	}
	if n := ca.count("POST /order-plz"); n != 1 {
		t.Errorf("%d orders for one name", n)
	}
}
