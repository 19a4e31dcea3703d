package integration

import (
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// The seven servers stand side by side in one backend, each ready in 150 ms; a
// busy machine is given ten times that.
func TestServersAreReadySoon(t *testing.T) {
	w := mustQuietWorld(t)
	for _, row := range []struct {
		name  string
		start func()
	}{
		{"Apache httpd", func() { servers.StartApache(t, w.Lab, "Require all granted") }},
		{"Dovecot", func() { servers.StartDovecot(t, w.Lab) }},
		{"OpenSSH", func() { servers.StartSSH(t, w.Lab, 22) }},
		{"BIND", func() { servers.StartBind(t, w.Lab, "recursion no;") }},
		{"Postfix", func() { servers.StartPostfix(t, w.Lab, "all") }},
		{"Sendmail", func() { servers.StartSendmail(t, w.Lab, lab.Backend2, "") }},
		{"vsftpd", func() { servers.StartVsftpd(t, w.Lab) }},
	} {
		began := time.Now()
		row.start()
		took := time.Since(began).Round(time.Millisecond)
		t.Logf("%s: ready in %v", row.name, took)
		if took > 1500*time.Millisecond {
			t.Errorf("%s: ready in %v", row.name, took)
		}
	}
}
