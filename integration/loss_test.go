package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
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

[forward.ftp]
listen   = "tunnel:21"
to       = "%[1]s:21"
protocol = "ftp"

[forward.dns]
listen   = ["tunnel:53", "udp/tunnel:53"]
to       = "%[1]s:53"
protocol = "dns"
`, lab.BackendV4)

// Six servers serve an IPv6-only client through the userspace datapath while
// the path loses two packets of a hundred.
func TestServersUnderLoss(t *testing.T) {
	w := mustWorld(t)
	nft := require.Program(t, "nft", "nftables")
	servers.StartApacheProxy(t, w.Lab, 8080, "2001:db8:6::/64")
	sshd := servers.StartSSH(t, w.Lab, 22)
	servers.StartDovecot(t, w.Lab)
	servers.StartPostfix(t, w.Lab, "all")
	vsftpd := servers.StartVsftpd(t, w.Lab)
	servers.StartBind(t, w.Lab, "recursion no;")
	file := bytes.Repeat([]byte("Take off your shoes.\n"), 50000)
	if err := os.WriteFile(filepath.Join(vsftpd.Dir, "root/pub/file"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	mail := filepath.Join(w.Dir, "mail.txt")
	mustWrite(t, mail, strings.ReplaceAll(servers.Mail, "\n", "\r\n"))
	rules := filepath.Join(w.Dir, "loss.nft")
	mustWrite(t, rules, lossy)
	w.front(t, lossyConfig)
	if text, err := out(t, w.ISP, nft, "-f", rules); err != nil {
		t.Fatalf("nft: %v\n%s", err, text)
	}
	at := "[" + lab.Front6.String() + "]"
	curl := func(args ...string) []string {
		return append([]string{"curl", "-sS", "--noproxy", "*", "--max-time", "25"}, args...)
	}
	got := filepath.Join(w.Dir, "got")
	for _, row := range []struct {
		name    string
		command []string
		want    string
	}{
		{"Apache", curl("http://" + at + "/"), servers.Page},
		{"OpenSSH", sshd.Login(t, lab.Client6.String(), lab.Front6.String(), "22", "echo $SSH_CONNECTION"), "100.64."},
		{"Dovecot", curl("-u", "joe:secret", "imap://"+at+"/INBOX;UID=1"), "Take off your shoes."},
		{"Postfix", curl("--mail-from", "a@example.org", "--mail-rcpt", "joe@example.test", "-T", mail, "smtp://"+at), ""},
		{"vsftpd", curl("-o", got, "ftp://"+at+"/pub/file"), ""},
		{"BIND", []string{require.Program(t, "dig", "bind9-dnsutils"), "@" + lab.Front6.String(), "+nocookie", "+bufsize=4096", "s60000.example.test", "TXT"}, "MSG SIZE  rcvd: 60000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if text, err := out(t, w.Client6, row.command...); err != nil || !strings.Contains(text, row.want) {
				t.Errorf("%v, want %q in:\n%.2000s", err, row.want, text)
			}
		})
	}
	data, err := os.ReadFile(got)
	if err != nil || sha256.Sum256(data) != sha256.Sum256(file) {
		t.Errorf("FTP: got %d bytes of %d, %v", len(data), len(file), err)
	}
	counted, err := out(t, w.ISP, nft, "list", "table", "ip", "loss")
	if err != nil || !regexp.MustCompile(`packets [1-9]`).MatchString(counted) {
		t.Errorf("nothing was lost, the test proves nothing: %v\n%s", err, counted)
	}
}
