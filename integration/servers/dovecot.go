package servers

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const dovecotConfig = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = pop3 imap
listen = %[2]s
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:%[1]s/mail/%%u
mail_max_userip_connections = 2
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=dovenull gid=dovenull home=%[1]s/mail/%%u
}
haproxy_trusted_networks = %[3]s
service pop3-login {
  inet_listener pop3 {
    port = 110
  }
  inet_listener pop3s {
    port = 0
  }
  inet_listener pop3_haproxy {
    port = 10110
    haproxy = yes
  }
}
service imap-login {
  inet_listener imap {
    port = 143
  }
  inet_listener imaps {
    port = 0
  }
  inet_listener imap_haproxy {
    port = 10143
    haproxy = yes
  }
}
`

// Mail is the one message in joe's mailbox, whose password is "secret".
const Mail = "From: jane@example.test\nTo: joe@example.test\nSubject: genkan\n\nTake off your shoes.\n"

// StartDovecot starts Dovecot in the backend: POP3 on 110 and 10110, IMAP on
// 143 and 10143; the PROXY protocol is required on those of five digits. A user
// has two connections from one address and no more.
func StartDovecot(t testing.TB, l *lab.Lab) *Server {
	t.Helper()
	program := require.Program(t, "/usr/sbin/dovecot", "dovecot-imapd")
	require.File(t, "/usr/lib/dovecot/pop3", "Debian package dovecot-pop3d")
	dir := folder(t, l, "dovecot", "run", "state", "mail/joe/new", "mail/joe/cur", "mail/joe/tmp")
	write(t, filepath.Join(dir, "mail/joe/new/1.1.host"), Mail)
	if out, err := exec.Command("chown", "-R", "dovenull:", filepath.Join(dir, "mail")).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "dovecot.conf")
	write(t, config, fmt.Sprintf(dovecotConfig, dir, lab.BackendV4, lab.InsideV4))
	s := run(t, l, dir, program, "-F", "-c", config)
	s.log, s.hasty = filepath.Join(dir, "log"), true
	waitGreeting(t, l, 110, "", "+OK")
	waitGreeting(t, l, 143, "", "* OK")
	return s
}
