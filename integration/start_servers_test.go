package integration

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// The seven servers stand side by side in one backend, each ready in 150 ms on an
// idle machine, which the log tells. Ten times that is a failure, times as many as
// share a CPU of this machine, which may have other work, but not the ten seconds
// that a name server costs which does not answer.
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
		bound := min(time.Duration(crowd(t)*float64(1500*time.Millisecond)).Round(time.Millisecond), 9*time.Second)
		t.Logf("%s: ready in %v, bound %v", row.name, took, bound)
		if took > bound {
			t.Errorf("%s: ready in %v, bound %v", row.name, took, bound)
		}
	}
}

// crowd is how many programs share a CPU with one that starts now, itself included.
func crowd(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	load := 0.0
	if err == nil {
		_, err = fmt.Sscan(string(text), &load)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 1 + load/float64(runtime.NumCPU())
}
