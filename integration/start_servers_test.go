package integration

import (
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// The seven servers stand side by side in one backend, each ready in 150 ms on an
// idle machine, which the log tells. Ten times that is a failure, or as long as a
// hundred programs take here that do nothing, where that is longer: the machine
// has other work.
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
		trifle := timeOfNothing(t, w)
		began := time.Now()
		row.start()
		took := time.Since(began).Round(time.Millisecond)
		trifle = max(trifle, timeOfNothing(t, w))
		t.Logf("%s: ready in %v; a program that does nothing takes %v", row.name, took, trifle)
		if took > max(1500*time.Millisecond, 100*trifle) {
			t.Errorf("%s: ready in %v", row.name, took)
		}
	}
}

// timeOfNothing is how long a program that does nothing takes in the backend now.
func timeOfNothing(t *testing.T, w *world) time.Duration {
	t.Helper()
	const times = 5
	began := time.Now()
	for range times {
		if text, err := out(t, w.Backend, "/bin/true"); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	return time.Since(began) / times
}
