package integration

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/integration/servers"
)

// mustCert makes a certificate for mail.example.test, and its key.
func mustCert(t *testing.T) (cert, key string) {
	t.Helper()
	openssl := require.Program(t, "openssl", "openssl")
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text, err := exec.Command(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=mail.example.test", "-addext", "subjectAltName=DNS:mail.example.test", "-out", cert, "-keyout", key).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, text)
	}
	return cert, key
}

// Dovecot and Postfix without TLS serve IMAPS, POP3S and SMTPS, and know the
// client all the same.
func TestTLSEndsAtTheFront(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	dovecot := servers.StartDovecot(t, w.Lab)
	postfix := servers.StartPostfix(t, w.Lab, "all")
	cert, key := mustCert(t)
	config := tunnelConfig
	for _, f := range []struct {
		name     string
		port, to int
	}{{"imap", 993, 10143}, {"pop3", 995, 10110}, {"smtp", 465, 10025}} {
		config += fmt.Sprintf("\n[forward.%[1]s]\nlisten = [\"tunnel:%[2]d\", \"%[3]s:%[2]d\"]\nto = \"%[4]s:%[5]d\"\nprotocol = %[1]q\nannounce = [\"proxy-v2\"]\ncert = %[6]q\nkey = %[7]q\n",
			f.name, f.port, lab.FrontV4, lab.BackendV4, f.to, cert, key)
	}
	w.front(t, config)
	mail := filepath.Join(w.Dir, "mail.txt")
	mustWrite(t, mail, strings.ReplaceAll(servers.Mail, "\n", "\r\n"))
	for _, c := range clients[:2] {
		t.Run(c.name, func(t *testing.T) {
			// The name is the certificate's: curl checks it.
			ask := func(port, url string, args ...string) (string, error) {
				to := fmt.Sprintf("mail.example.test:%s:%s", port, strings.Trim(c.to, "[]"))
				return out(t, w.client(c.addr), append([]string{"curl", "-sS", "--noproxy", "*", "--max-time", "20", "--interface", c.addr,
					"--cacert", cert, "--resolve", to, strings.Replace(url, "://", "://mail.example.test:"+port, 1)}, args...)...)
			}
			for _, row := range []struct{ port, url, log string }{
				{"993", "imaps:///INBOX;UID=1", "imap-login"},
				{"995", "pop3s:///1", "pop3-login"},
			} {
				if body, err := ask(row.port, row.url, "-u", "joe:secret"); err != nil || !strings.Contains(body, "Take off your shoes") {
					t.Errorf("%s: %q, %v", row.url, body, err)
				}
				dovecot.WaitLog(t, row.log, "rip="+c.addr)
			}
			if body, err := ask("465", "smtps://", "--mail-from", "a@example.org", "--mail-rcpt", "joe@example.test", "-T", mail); err != nil {
				t.Errorf("SMTPS: %q, %v", body, err)
			}
			postfix.WaitLog(t, "smtpd", "client=", "["+c.addr+"]")
		})
	}
}

// Dovecot and Postfix without TLS serve clients that say STARTTLS; IMAP and
// POP3 take no password before. XCLIENT goes with it.
func TestStartTLSAtTheFront(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	dovecot := servers.StartDovecot(t, w.Lab)
	postfix := servers.StartPostfix(t, w.Lab, "all", "smtpd_authorized_xclient_hosts = "+lab.InsideV4.String())
	cert, key := mustCert(t)
	config := tunnelConfig
	for _, f := range []struct {
		name     string
		port, to int
		announce string
	}{{"imap", 143, 10143, "proxy-v2"}, {"pop3", 110, 10110, "proxy-v2"}, {"smtp", 25, 25, "xclient"}} {
		config += fmt.Sprintf("\n[forward.%[1]s]\nlisten = [\"tunnel:%[2]d\", \"%[3]s:%[2]d\"]\nto = \"%[4]s:%[5]d\"\nprotocol = %[1]q\nannounce = [%[8]q]\ntls = \"starttls\"\ncert = %[6]q\nkey = %[7]q\n",
			f.name, f.port, lab.FrontV4, lab.BackendV4, f.to, cert, key, f.announce)
	}
	w.front(t, config)
	mail := filepath.Join(w.Dir, "mail.txt")
	mustWrite(t, mail, strings.ReplaceAll(servers.Mail, "\n", "\r\n"))
	for _, c := range clients[:2] {
		t.Run(c.name, func(t *testing.T) {
			for _, row := range []struct {
				name, how string // whether curl wants TLS
				args      []string
				want      string // in what curl gets; "": curl fails
			}{
				{"imap-tls", "--ssl-reqd", []string{"-u", "joe:secret", "imap://" + c.to + "/INBOX;UID=1"}, "Take off your shoes."},
				{"imap-plain", "--no-ssl", []string{"-u", "joe:secret", "imap://" + c.to + "/INBOX;UID=1"}, ""},
				{"pop3-tls", "--ssl-reqd", []string{"-u", "joe:secret", "pop3://" + c.to + "/1"}, "Take off your shoes."},
				{"pop3-plain", "--no-ssl", []string{"-u", "joe:secret", "pop3://" + c.to + "/1"}, ""},
				{"smtp-tls", "--ssl-reqd", []string{"-v", "--mail-from", "a@example.org", "--mail-rcpt", "joe@example.test", "-T", mail, "smtp://" + c.to}, "250 2.0.0"},
				{"smtp-plain", "--no-ssl", []string{"-v", "--mail-from", "a@example.org", "--mail-rcpt", "joe@example.test", "-T", mail, "smtp://" + c.to}, "250 2.0.0"},
			} {
				text, err := out(t, w.client(c.addr), append([]string{"curl", "-sS", "--noproxy", "*", "--max-time", "20", "--interface", c.addr, "--insecure", row.how}, row.args...)...)
				if (err == nil) != (row.want != "") || !strings.Contains(text, row.want) {
					t.Errorf("%s: %v, want %q in:\n%s", row.name, err, row.want, text)
				}
			}
			dovecot.WaitLog(t, "imap-login", "Login: user=<joe>", "rip="+c.addr)
			dovecot.WaitLog(t, "pop3-login", "Login: user=<joe>", "rip="+c.addr)
			postfix.WaitLog(t, "smtpd", "client=", "["+c.addr+"]")
		})
	}
}

// A server's own TLS passes untouched, by STARTTLS behind a PROXY header and
// from the first byte: the client sees the server's certificate.
func TestServersOwnTLSPasses(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	openssl := require.Program(t, "openssl", "openssl")
	cert, key := mustCert(t)
	postfix := servers.StartPostfix(t, w.Lab, "all", "smtpd_tls_security_level = encrypt", "smtpd_tls_cert_file = "+cert, "smtpd_tls_key_file = "+key)
	w.front(t, tunnelConfig+fmt.Sprintf("\n[forward.smtp]\nlisten = [\"tunnel:25\", \"%[1]s:25\"]\nto = \"%[2]s:10025\"\nprotocol = \"smtp\"\nannounce = [\"proxy-v2\"]\n", lab.FrontV4, lab.BackendV4))
	mail := filepath.Join(w.Dir, "mail.txt")
	mustWrite(t, mail, strings.ReplaceAll(servers.Mail, "\n", "\r\n"))
	for _, c := range clients[:2] {
		text, err := out(t, w.client(c.addr), "curl", "-sS", "--noproxy", "*", "--max-time", "20", "--interface", c.addr, "--ssl-reqd", "--cacert", cert,
			"--resolve", "mail.example.test:25:"+strings.Trim(c.to, "[]"), "--mail-from", "a@example.org", "--mail-rcpt", "joe@example.test", "-T", mail, "smtp://mail.example.test:25")
		if err != nil {
			t.Errorf("%s: %v, %q", c.name, err, text)
		}
		postfix.WaitLog(t, "smtpd", "client=", "["+c.addr+"]")
		text, err = out(t, w.client(c.addr), "/bin/sh", "-c", openssl+" s_client -connect "+c.to+":25 -starttls smtp -CAfile "+cert+" -verify_hostname mail.example.test </dev/null")
		if err != nil || !strings.Contains(text, "Verify return code: 0 (ok)") || !strings.Contains(text, "subject=CN = mail.example.test") {
			t.Errorf("%s: %v\n%s", c.name, err, text)
		}
	}
}

// Postfix learns the client by XCLIENT on its ordinary port, and does not relay
// for the Internet, though the front is in its own network.
func TestXclient(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	postfix := servers.StartPostfix(t, w.Lab, "all", "smtpd_authorized_xclient_hosts = "+lab.InsideV4.String())
	w.front(t, tunnelConfig+"\n[pool.default]\nprefix = \"100.64.0.0/16\"\n"+fmt.Sprintf("\n[forward.mail]\nlisten = [\"tunnel:25\", \"%s:25\"]\nto = \"%s:25\"\nprotocol = \"smtp\"\nannounce = [\"xclient\"]\n", lab.FrontV4, lab.BackendV4))
	for _, c := range clients[:2] {
		t.Run(c.name, func(t *testing.T) {
			v := w.visit(t, netip.MustParseAddr(c.addr), 25)
			if !strings.HasPrefix(v.greeting, "220 ") {
				t.Fatalf("greeting %q", v.greeting)
			}
			for _, row := range []struct{ line, want string }{
				{"XCLIENT ADDR=10.0.0.1", "550 "},     // he is not believed what we are
				{"MAIL FROM:<a@example.org>", "250 "}, // HELO is not wanted here: ours is forgotten
				{"RCPT TO:<victim@elsewhere.example>", "554 5.7.1"},
				{"RCPT TO:<joe@example.test>", "250 "},
				{"DATA", "354 "},
				{"Subject: " + c.name + "\r\n\r\nTake off your shoes.\r\n.", "250 "},
			} {
				if got := v.ask(row.line); !strings.HasPrefix(got, row.want) {
					t.Errorf("%q: %q, want %q", row.line, got, row.want)
				}
			}
			postfix.WaitLog(t, "smtpd", "client=", "["+c.addr+"]")
		})
	}
}

// A Postfix that does not let us say XCLIENT gets no mail by us: it would take
// every client for the front.
func TestXclientNotAllowed(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	servers.StartPostfix(t, w.Lab, "all")
	front := w.front(t, tunnelConfig+fmt.Sprintf("\n[forward.mail]\nlisten = \"tunnel:25\"\nto = \"%s:25\"\nprotocol = \"smtp\"\nannounce = [\"xclient\"]\n", lab.BackendV4))
	if v := w.visit(t, lab.Client6, 25); strings.HasPrefix(v.greeting, "220") {
		t.Errorf("greeting %q", v.greeting)
	}
	mustLog(t, front, "no backend", "the server offers no XCLIENT")
}
