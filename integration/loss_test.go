package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/integration/servers"
)

// lossy drops two of a hundred packets on the router between the relay and the
// front, both ways.
const lossy = `table ip loss {
	chain path {
		type filter hook forward priority 0
		numgen random mod 100 < 2 counter drop
	}
}
`

var lossyConfig = tunnelConfig + "datapath = \"userspace\"\n" + fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[forward.web]
listen   = "tunnel:80"
to       = "%[1]s:8080"
announce = ["proxy-v2"]

[forward.ssh]
listen   = "tunnel:22"
to       = "%[1]s:22"
protocol = "ssh"

[forward.imap]
listen   = "tunnel:143"
to       = "%[1]s:10143"
protocol = "imap"
announce = ["proxy-v2"]

[forward.smtp]
listen   = "tunnel:25"
to       = "%[1]s:10025"
protocol = "smtp"
announce = ["proxy-v2"]

[forward.sendmail]
listen   = "tunnel:26"
to       = "%[2]s:25"
protocol = "smtp"

[forward.pop3]
listen   = "tunnel:110"
to       = "%[1]s:10110"
protocol = "pop3"
announce = ["proxy-v2"]

[forward.ftp]
listen   = "tunnel:21"
to       = "%[1]s:21"
protocol = "ftp"

[forward.dns]
listen   = ["tunnel:53", "udp/tunnel:53"]
to       = "%[1]s:53"
protocol = "dns"

# The same with TLS that ends at the front.

[forward.imaps]
listen   = "tunnel:993"
to       = "%[1]s:10143"
protocol = "imap"
announce = ["proxy-v2"]
cert     = "CERT"
key      = "KEY"

[forward.submission]
listen   = "tunnel:587"
to       = "%[1]s:10025"
protocol = "smtp"
announce = ["proxy-v2"]
tls      = "starttls"
cert     = "CERT"
key      = "KEY"

[forward.sendmails]
listen   = "tunnel:465"
to       = "%[2]s:25"
protocol = "smtp"
cert     = "CERT"
key      = "KEY"

[forward.ftps]
listen   = ["tunnel:990", "tunnel:2121"]
to       = "%[1]s:21"
protocol = "ftp"
passive  = "50100-50109"
ftp_require = ["login", "data", "reuse"]
cert     = "CERT"
key      = "KEY"
`, lab.BackendV4, lab.Backend2)

// The seven servers serve an IPv6-only client through the userspace datapath
// while the path loses two packets of a hundred, with TLS and without.
func TestServersUnderLoss(t *testing.T) {
	w := mustWorld(t)
	cert, key := mustCert(t)
	servers.StartApache(t, w.Lab, "Require ip 2001:db8:6::/64")
	sshd := servers.StartSSH(t, w.Lab, 22)
	servers.StartDovecot(t, w.Lab)
	servers.StartPostfix(t, w.Lab, "all")
	sendmail := servers.StartSendmail(t, w.Lab, lab.Backend2, "")
	vsftpd := servers.StartVsftpd(t, w.Lab)
	servers.StartBind(t, w.Lab, "recursion no;")
	file := bytes.Repeat([]byte("Take off your shoes.\n"), 40000)
	if err := os.WriteFile(filepath.Join(vsftpd.Dir, "root/pub/file"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	mail := filepath.Join(w.Dir, "mail.txt")
	mustWrite(t, mail, strings.ReplaceAll(servers.Mail, "\n", "\r\n"))
	w.front(t, strings.NewReplacer("CERT", cert, "KEY", key).Replace(lossyConfig))
	w.losePackets(t)
	at := "[" + lab.Front6.String() + "]"
	curl := func(args ...string) []string {
		return append([]string{"curl", "-sS", "--noproxy", "*", "--max-time", "25", "--insecure"}, args...)
	}
	send := func(url, to string, args ...string) []string {
		return curl(append(args, "--mail-from", "a@example.org", "--mail-rcpt", to, "-T", mail, url)...)
	}
	dig := []string{require.Program(t, "dig", "bind9-dnsutils"), "@" + lab.Front6.String(), "+nocookie", "+bufsize=4096", "+tries=5"}
	for _, row := range []struct {
		name    string
		command []string
		want    string
	}{
		{"Apache", curl("http://" + at + "/"), servers.Page},
		{"OpenSSH", sshd.Login(t, lab.Client6.String(), lab.Front6.String(), "22", "echo $SSH_CONNECTION"), "100.64."},
		{"Dovecot-IMAP", curl("-u", "joe:secret", "imap://"+at+"/INBOX;UID=1"), "Take off your shoes."},
		{"Dovecot-POP3", curl("-u", "joe:secret", "pop3://"+at+"/1"), "Take off your shoes."},
		{"Dovecot-IMAPS", curl("-u", "joe:secret", "imaps://"+at+"/INBOX;UID=1"), "Take off your shoes."},
		{"Postfix", send("smtp://"+at, "joe@example.test"), ""},
		{"Postfix-STARTTLS", send("smtp://"+at+":587", "joe@example.test", "--ssl-reqd"), ""},
		{"Sendmail", send("smtp://"+at+":26/loss.example", "root@example.test"), ""},
		{"Sendmail-SMTPS", send("smtps://"+at+"/losstls.example", "root@example.test"), ""},
		{"vsftpd", curl("ftp://" + at + "/pub/file"), string(file)},
		{"vsftpd-FTPS", curl("--ssl-reqd", "ftp://"+at+":2121/pub/file"), string(file)},
		{"vsftpd-FTPS-implicit", curl("ftps://" + at + "/pub/file"), string(file)},
		{"BIND-UDP", append(dig, "s512.example.test", "TXT"), "MSG SIZE  rcvd: 512"},
		{"BIND-TCP", append(dig, "s60000.example.test", "TXT"), "MSG SIZE  rcvd: 60000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if text, err := out(t, w.Client6, row.command...); err != nil || !strings.Contains(text, row.want) {
				t.Errorf("%v, want %.80q of %d bytes in %d:\n%.2000s", err, row.want, len(row.want), len(text), text)
			}
		})
	}
	sendmail.WaitLog(t, "Received: from loss.example", "[100.64.")
	sendmail.WaitLog(t, "Received: from losstls.example", "[100.64.")
	counted, err := out(t, w.ISP, "nft", "list", "table", "ip", "loss")
	if err != nil || !regexp.MustCompile(`packets [1-9]`).MatchString(counted) {
		t.Errorf("nothing was lost, the test proves nothing: %v\n%s", err, counted)
	}
	if longRun() {
		runUnderLoss(t)
	}
}

// losePackets begins to lose packets on the router between relay and front.
func (w *world) losePackets(t *testing.T) {
	t.Helper()
	nft := require.Program(t, "nft", "nftables")
	rules := filepath.Join(w.Dir, "loss.nft")
	mustWrite(t, rules, lossy)
	if text, err := out(t, w.ISP, nft, "-f", rules); err != nil {
		t.Fatalf("nft: %v\n%s", err, text)
	}
}

// runUnderLoss runs the other tests of servers by the userspace datapath on a
// lossy path: those that do not count answers to datagrams.
func runUnderLoss(t *testing.T) {
	t.Helper()
	const tests = "^Test(Apache.*|ServersLearnTheClient|PoolKeepsClientsApart|SSH|Neighbours|Postscreen|MailIsNoOpenRelay|Sendmail|PostfixStrictlyIPv4|" +
		"Xclient.*|.*TLS.*|ForwardsGetCertificates|FTP.*|DNSPipelined|Probes|Redis|Postgres|MariaDB)$"
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", tests, "-test.timeout", "20m")
	cmd.Env = append(os.Environ(), lossyRun+"=1", "GENKAN_RELIABILITY=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("under loss: %v\n%s", err, text)
	}
}
