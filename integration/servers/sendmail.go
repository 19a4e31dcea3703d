package servers

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// Without TrustStickyBit a map below /tmp is passed over in silence, and with
// it all limits. An alias map that is not there makes RCPT wait for minutes. By
// default a busy machine's load makes Sendmail refuse connections.
const sendmailConfig = `divert(0)dnl
OSTYPE(` + "`linux'" + `)dnl
define(` + "`QUEUE_DIR', `%[1]s/q'" + `)dnl
define(` + "`confPID_FILE', `%[1]s/sendmail.pid'" + `)dnl
define(` + "`STATUS_FILE', `%[1]s/statistics'" + `)dnl
define(` + "`HELP_FILE', `'" + `)dnl
undefine(` + "`ALIAS_FILE'" + `)dnl
define(` + "`confDOMAIN_NAME', `backend.example.test'" + `)dnl
define(` + "`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,TrustStickyBit,RunProgramInUnsafeDirPath'" + `)dnl
define(` + "`confDONT_PROBE_INTERFACES', `True'" + `)dnl
define(` + "`confTO_IDENT', `0'" + `)dnl
define(` + "`confQUEUE_LA', `10000'" + `)dnl
define(` + "`confREFUSE_LA', `10000'" + `)dnl
define(` + "`confTO_RESOLVER_RETRANS', `1s'" + `)dnl
define(` + "`confTO_RESOLVER_RETRY', `1'" + `)dnl
define(` + "`confSERVICE_SWITCH_FILE', `%[1]s/switch'" + `)dnl
define(` + "`LOCAL_MAILER_PATH', `%[1]s/deliver'" + `)dnl
define(` + "`LOCAL_MAILER_ARGS', `deliver $u'" + `)dnl
define(` + "`LOCAL_MAILER_FLAGS', `PSn'" + `)dnl
FEATURE(` + "`nocanonify'" + `)dnl
FEATURE(` + "`accept_unresolvable_domains'" + `)dnl
FEATURE(` + "`no_default_msa'" + `)dnl
DAEMON_OPTIONS(` + "`Family=inet, Addr=%[2]s, Port=25, Name=MTA'" + `)dnl
FEATURE(` + "`access_db', `hash -T<TMPF> -o %[1]s/access'" + `)dnl
FEATURE(` + "`delay_checks'" + `)dnl
FEATURE(` + "`ratecontrol', `nodelay', `terminate'" + `)dnl
FEATURE(` + "`conncontrol', `nodelay', `terminate'" + `)dnl
define(` + "`confCONNECTION_RATE_WINDOW_SIZE', `60s'" + `)dnl
MAILER(` + "`local'" + `)dnl
MAILER(` + "`smtp'" + `)dnl
LOCAL_CONFIG
Cwexample.test
`

// StartSendmail starts Sendmail on port 25 of an address of the backend. It takes mail for
// root@example.test, which Log shows, and relays for its own network, where
// the front's address is. access are further lines of its access map.
func StartSendmail(t testing.TB, l *lab.Lab, at netip.Addr, access string) *Server {
	t.Helper()
	m4 := require.Program(t, "m4", "m4")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(cache, "genkan/sendmail/root")
	cf := filepath.Join(root, "usr/share/sendmail/cf")
	require.File(t, cf, "integration/setup.sh puts it there")
	dir := folder(t, l, "sendmail", "q", "mail")
	write(t, filepath.Join(dir, "sendmail.mc"), fmt.Sprintf(sendmailConfig, dir, at))
	write(t, filepath.Join(dir, "switch"), "hosts files\naliases files\n")
	write(t, filepath.Join(dir, "access.txt"), "Connect:127\tRELAY\nConnect:10.0.0\tRELAY\n"+access)
	write(t, filepath.Join(dir, "deliver"), "#!/bin/sh\nexec cat >> "+dir+"/mail/$1\n")
	for name, mode := range map[string]os.FileMode{"deliver": 0o755, "q": 0o700, "mail": 0o777} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "sendmail.cf")
	for _, step := range []string{
		fmt.Sprintf("%s -D_CF_DIR_=%s/ %s/m4/cf.m4 %s/sendmail.mc > %s", m4, cf, cf, dir, config),
		fmt.Sprintf("%s/usr/libexec/sendmail/makemap -C %s hash %s/access < %s/access.txt", root, config, dir, dir),
	} {
		if out, err := exec.Command("/bin/sh", "-c", step).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", step, err, out)
		}
	}
	s := run(t, l, dir, filepath.Join(root, "usr/libexec/sendmail/sendmail"), "-C", config, "-bD")
	s.log = filepath.Join(dir, "mail/root")
	waitGreetingAt(t, l, netip.AddrPortFrom(at, 25), "", "220 ")
	return s
}
