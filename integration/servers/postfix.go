package servers

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const postfixMain = `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
mail_owner = postfix
setgid_group = postdrop
myhostname = backend.example.test
mydestination =
mynetworks_style = subnet
inet_interfaces = %[2]s
inet_protocols = %[3]s
maillog_file = /dev/stdout
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_domains = example.test
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = static:joe/
virtual_uid_maps = static:%[4]s
virtual_gid_maps = static:%[5]s
alias_maps =
alias_database =
default_transport = discard
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_error_sleep_time = 0
postscreen_cache_map = btree:$data_directory/postscreen_cache
postscreen_greet_wait = 1s
postscreen_greet_action = drop
`

const postfixMaster = `
smtp      inet  n  -  n  -  -  smtpd
10025     inet  n  -  n  -  -  smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
10026     inet  n  -  n  -  1  postscreen
  -o postscreen_upstream_proxy_protocol=haproxy
smtpd     pass  -  -  n  -  -  smtpd
cleanup   unix  n  -  n  -  0  cleanup
qmgr      unix  n  -  n  300 1 qmgr
rewrite   unix  -  -  n  -  -  trivial-rewrite
bounce    unix  -  -  n  -  0  bounce
defer     unix  -  -  n  -  0  bounce
trace     unix  -  -  n  -  0  bounce
verify    unix  -  -  n  -  1  verify
proxymap  unix  -  -  n  -  -  proxymap
smtp      unix  -  -  n  -  -  smtp
error     unix  -  -  n  -  -  error
retry     unix  -  -  n  -  -  retry
discard   unix  -  -  n  -  -  discard
local     unix  -  n  n  -  -  local
virtual   unix  -  n  n  -  -  virtual
anvil     unix  -  -  n  -  1  anvil
scache    unix  -  -  n  -  1  scache
tlsmgr    unix  -  -  n  -  1  tlsmgr
postlog   unix-dgram n - n - 1 postlogd
`

// proxyLocal is the header of PROXY v2 for a connection of the proxy's own.
// Postfix does not take version 1's PROXY UNKNOWN.
const proxyLocal = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

// StartPostfix starts Postfix in the backend: SMTP on 25, and with the PROXY
// protocol required on 10025; on 10026 postscreen stands before it, and lets
// nobody in who speaks within a second. It relays for its own subnet, where the front's
// address is, and for nobody else. protocols is inet_protocols: "ipv4", or
// "all"; more are further lines of main.cf.
func StartPostfix(t testing.TB, l *lab.Lab, protocols string, more ...string) *Server {
	t.Helper()
	master := require.Program(t, "/usr/lib/postfix/sbin/master", "postfix")
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, l, "postfix-"+protocols, "etc", "data", "mail", "queue/pid")
	etc := filepath.Join(dir, "etc")
	write(t, filepath.Join(etc, "main.cf"), fmt.Sprintf(postfixMain, dir, lab.BackendV4, protocols, owner.Uid, owner.Gid)+strings.Join(more, "\n")+"\n")
	write(t, filepath.Join(etc, "master.cf"), postfixMaster)
	postfixQueue(t, filepath.Join(dir, "queue"))
	for _, name := range []string{"data", "mail"} {
		if out, err := exec.Command("chown", "postfix:", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("chown: %v\n%s", err, out)
		}
	}
	// Postfix waits two seconds for a file this new to settle.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(etc, "main.cf"), old, old); err != nil {
		t.Fatal(err)
	}
	s := run(t, l, dir, master, "-d", "-c", etc)
	waitGreeting(t, l, 25, "", "220 ")
	waitGreeting(t, l, 10025, proxyLocal, "220 ")
	return s
}

// postfixQueue makes the folders of the queue, as "postfix check" does in ten
// times the time that the server needs to start.
func postfixQueue(t testing.TB, queue string) {
	t.Helper()
	var all, shared []string
	for _, name := range []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"} {
		all = append(all, filepath.Join(queue, name))
	}
	for _, name := range []string{"maildrop", "public"} {
		shared = append(shared, filepath.Join(queue, name))
	}
	for _, args := range [][]string{
		append([]string{"install", "-d", "-o", "postfix", "-m", "700"}, all...),
		append([]string{"install", "-d", "-o", "postfix", "-g", "postdrop", "-m", "730"}, shared...),
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
}
