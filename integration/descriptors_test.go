package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// With few descriptors and many clients, those that are in go on, the others
// wait without costing CPU, and are taken in when there is room again.
func TestOutOfDescriptors(t *testing.T) {
	const limit, crowd, kept = 256, 400, 40
	w := mustQuietWorld(t)
	prlimit := require.Program(t, "prlimit", "util-linux")
	startEcho(t, w, lab.BackendV4.String()+":7000")
	p := start(t, w.Front, prlimit, fmt.Sprintf("--nofile=%d:%d", limit, limit), w.program,
		"forward", lab.FrontV4.String()+":7000", lab.BackendV4.String()+":7000")
	waitListening(t, w.Front, lab.FrontV4.String(), 7000)

	var conns []*net.TCPConn
	for range crowd {
		conn, err := w.tryDial(t, lab.Client4.String(), lab.FrontV4.String(), 7000)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if len(conns) == kept {
			echoes(t, conns)
		}
	}
	if err := says(conns[crowd-1], 200*time.Millisecond); err == nil {
		t.Fatalf("all of %d clients are served with %d descriptors; the test proves nothing", crowd, limit)
	}
	before, began := cpuTicks(t, p.Pid()), time.Now()
	echoes(t, conns[:kept])
	time.Sleep(500 * time.Millisecond) // a time to measure over
	share := float64(cpuTicks(t, p.Pid())-before) / 100 / time.Since(began).Seconds()
	if share > 0.5 { // a loop that spins takes 1; wanted: 0.2
		t.Errorf("%.0f %% of a CPU while clients wait", 100*share)
	}
	for _, c := range conns[kept:] {
		c.Close()
	}
	began = time.Now()
	conn := w.dial(t, lab.Client4.String(), lab.FrontV4.String(), 7000)
	if err := says(conn, 10*time.Second); err != nil {
		t.Errorf("a client of after the rush: %v", err)
	}
	t.Logf("%d descriptors, %d clients: %.0f %% of a CPU while they wait, accepting again after %v", limit, crowd, 100*share, time.Since(began).Round(time.Millisecond))
	echoes(t, conns[:kept])
	told := 0
	for line := range strings.Lines(p.Output()) {
		if strings.Contains(line, `"level":"WARN"`) {
			told++
		}
	}
	if told == 0 || told > 3 {
		t.Errorf("%d warnings, want one, and few for the clients that left:\n%s", told, p.Output())
	}
}

// While clients have all descriptors that they can have, whoever runs the front
// is answered, can reload it, and makes room.
func TestAdminAnswersOutOfDescriptors(t *testing.T) {
	const limit, crowd = 256, 400
	w := mustWorld(t)
	startEcho(t, w, lab.BackendV4.String()+":7000")
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	// With more connections than descriptors: else those would never run out.
	config := "max_conns = 10000\n" + tunnelConfig + fmt.Sprintf("[admin]\nlisten = \"127.0.0.1:6464\"\n[forward.echo]\nlisten = [\"%[1]s:7000\", \"udp/%[1]s:7001\"]\nto = \"%[2]s:7000\"\n[site.web]\nhosts = [\"default\"]\nlisten = \"%[1]s:80\"\nto = \"%[2]s:8080\"\n", lab.FrontV4, lab.BackendV4)
	bounded := filepath.Join(w.Dir, "bounded")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --nofile=%d:%d %s \"$@\"\n", require.Program(t, "prlimit", "util-linux"), limit, limit, w.program)
	if err := os.WriteFile(bounded, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := w.Genkan(w.Front, bounded, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	waitReady(t, p)
	asks := func(when string) {
		t.Helper()
		if said := w.ask(t, "status"); !strings.Contains(said, "echo") {
			t.Errorf("%s: genkan status: %s", when, said)
		}
		if status, body := curl(t, w.Front, "http://127.0.0.1:6464/metrics"); status != 200 || !strings.Contains(body, "genkan_") {
			t.Errorf("%s: /metrics: %d, %.200s", when, status, body)
		}
	}
	asks("before")
	var conns []*net.TCPConn
	for n := range crowd {
		conn, err := w.tryDial(t, lab.Client4.String(), lab.FrontV4.String(), []int{7000, 80}[n%2])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	mustLog(t, p, "cannot accept; trying again every 200 ms", "too many open files")
	for range 5 {
		asks("while clients wait")
	}
	if said := w.ask(t, "reload"); said != "nothing differs\n" {
		t.Errorf("genkan reload while clients wait: %s", said)
	}
	for _, c := range conns {
		c.Close()
	}
	began := time.Now()
	if err := says(w.dial(t, lab.Client4.String(), lab.FrontV4.String(), 7000), 10*time.Second); err != nil {
		t.Errorf("a client of after the rush: %v", err)
	}
	t.Logf("accepting again after %v", time.Since(began).Round(time.Millisecond))
	asks("after")
}

// echoes sees that every connection is served.
func echoes(t *testing.T, conns []*net.TCPConn) {
	t.Helper()
	for i, c := range conns {
		if err := says(c, patience); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
}

// says sends a byte and waits for it to come back.
func says(c *net.TCPConn, within time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// cpuTicks is the time that a process has used, in hundredths of a second.
func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := cutLast(string(text), ")") // the name may have spaces
	fields := strings.Fields(after)
	var user, system int
	if _, err := fmt.Sscan(fields[11], &user); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(fields[12], &system); err != nil {
		t.Fatal(err)
	}
	return user + system
}
