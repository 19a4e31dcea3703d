package servers

import (
	"fmt"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const unboundConfig = `
server:
  directory: "%[1]s"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  log-queries: yes
  log-time-ascii: no
  num-threads: 1
  interface: %[2]s@53
  interface: %[2]s@5300
  proxy-protocol-port: 5300
  access-control: %[3]s/32 allow
  access-control: 2001:db8:6::/64 allow
  access-control: 2001:db8:6:1::/64 allow
  access-control: 192.0.2.10/32 allow
  ip-ratelimit: 20
  ip-ratelimit-factor: 0
  local-zone: "example.test." static
  local-data: "www.example.test. A 192.0.2.80"
  module-config: "iterator"
remote-control:
  control-enable: no
`

// StartUnbound starts Unbound in the backend: on port 53, and with PROXY v2
// required on port 5300. It serves www.example.test to the clients of the lab
// that are not denied, of whom it answers each 20 times a second at most.
func StartUnbound(t testing.TB, l *lab.Lab) *Server {
	t.Helper()
	program := require.Program(t, "/usr/sbin/unbound", "unbound")
	dir := folder(t, l, "unbound")
	config := filepath.Join(dir, "unbound.conf")
	write(t, config, fmt.Sprintf(unboundConfig, dir, lab.BackendV4, lab.InsideV4))
	s := run(t, l, dir, program, "-d", "-p", "-c", config)
	waitConnect(t, l, 53)
	s.WaitLog(t, "start of service")
	return s
}
