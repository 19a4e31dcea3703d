package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
)

// Under load of every kind no request fails while the configuration is
// reloaded; in "make test-reliability" there are 100,000 of them.
func TestReloadOfEveryKind(t *testing.T) {
	for _, datapath := range datapaths() {
		t.Run(datapath, func(t *testing.T) {
			w := mustWorld(t)
			startTrafficBackend(t, w)
			f := newTrafficFront(t)
			p := w.front(t, onDatapath(f.config(0), datapath))
			all := startTraffic(t, w, 500, allKinds)
			all.mustGoOn(t)
			before := w.resources(t, p)
			reloads, between := times(100), 0
			if longRun() {
				between = 1000
			}
			for n := 1; n <= reloads; n++ {
				mustWrite(t, w.ConfigFile(w.Front), onDatapath(f.config(n), datapath))
				if said := w.ask(t, "reload"); !strings.Contains(said, "~ site \"load\"\n") {
					t.Fatalf("reload %d says %q", n, said)
				}
				all.mustGoOn(t)
				all.mustReach(t, n*between)
			}
			all.mustSucceed(t, fmt.Sprintf("%d reloads, datapath %s", reloads, datapath))
			w.mustNotLeak(t, p, before)
		})
	}
}

// A resources is what a process holds that could leak.
type resources struct{ descriptors, threads int }

func (w *world) resources(t *testing.T, p *lab.Daemon) resources {
	t.Helper()
	count := func(dir string) int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", p.Pid(), dir))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	return resources{count("fd"), count("task")}
}

// mustNotLeak waits until the front, without clients now, has no more
// descriptors than it had with them, and no more than a few threads more.
func (w *world) mustNotLeak(t *testing.T, p *lab.Daemon, before resources) {
	t.Helper()
	var now resources
	waitUntil(t, patience, "what was held to be given back", func() error {
		if now = w.resources(t, p); now.descriptors > before.descriptors+5 || now.threads > before.threads+8 {
			return fmt.Errorf("%+v, was %+v", now, before)
		}
		return nil
	})
	t.Logf("descriptors %d, were %d under load; threads %d, were %d", now.descriptors, before.descriptors, now.threads, before.threads)
}

// SIGTERM lets what is under way finish and exits 0; readiness goes first. A
// second SIGTERM ends at once.
func TestStopsReliably(t *testing.T) {
	w := mustWorld(t)
	release := make(chan struct{})
	slow := serveSlowly(t, w, lab.BackendV4.String()+":8080", release)
	config := strings.Replace(loadConfig(0), "[site.load]", "[admin]\nlisten = \"127.0.0.1:6464\"\n\n[site.load]", 1)
	client := w.httpClient(lab.Client6.String(), false)
	var worst time.Duration
	stops := times(50)
	for n := range stops {
		p := w.front(t, config)
		answered := make(chan error, 1)
		go func() { answered <- ask(t.Context(), client, "http://["+lab.Front6.String()+"]/") }()
		<-slow
		began := time.Now()
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := p.WaitFor("stopping: what is open may finish", patience); err != nil {
			t.Fatal(err)
		}
		if n == 0 { // while the request is still under way
			waitUntil(t, patience, "readiness to end", func() error { return w.mustBeUnready(t) })
		}
		release <- struct{}{}
		if err := <-answered; err != nil {
			t.Errorf("stop %d: the request under way: %v", n, err)
		}
		<-p.Done()
		worst = max(worst, time.Since(began))
		if p.Err() != nil {
			t.Errorf("stop %d: %v\n%s", n, p.Err(), p.Output())
		}
		stop(t, p)
	}
	t.Logf("%d stops: each let its request finish and exited with 0, the slowest after %v", stops, worst.Round(time.Millisecond))

	p := w.front(t, config)
	go func() { _ = ask(t.Context(), client, "http://["+lab.Front6.String()+"]/") }() // cut
	<-slow
	began := time.Now()
	for range 2 {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := p.WaitFor("stopping: what is open may finish", patience); err != nil {
			t.Fatal(err)
		}
	}
	<-p.Done()
	t.Logf("a second SIGTERM ended it after %v", time.Since(began).Round(time.Millisecond))
	if p.Err() == nil {
		t.Error("exit status 0 though a request was cut")
	}
	close(release)
}

// mustBeUnready asks for readiness as a load balancer does.
func (w *world) mustBeUnready(t *testing.T) error {
	t.Helper()
	return w.Front.Do(func() error {
		c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := c.Get("http://127.0.0.1:6464/healthz")
		if err != nil {
			return nil // nobody listens any more: not ready either
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("status %d, %q", resp.StatusCode, text)
		}
		return nil
	})
}

// serveSlowly tells of each request and answers it when it is released.
func serveSlowly(t *testing.T, w *world, addr string, release <-chan struct{}) <-chan struct{} {
	t.Helper()
	begun := make(chan struct{})
	var l net.Listener
	err := w.Backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-release
		_, _ = io.WriteString(rw, loadPage)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return begun
}

// With a full disk Genkan serves on; what it keeps is whole, if old, and is
// kept again once there is room.
func TestFullDisk(t *testing.T) {
	w := mustWorld(t)
	startTrafficBackend(t, w)
	f := newTrafficFront(t)
	start := filepath.Join(w.Dir, "start")
	// A disk of 1 MiB that others can fill: the folder leads to it by /proc.
	mustWrite(t, start, "#!/bin/sh\nmkdir -p /var/lib/genkan && mount -t tmpfs -o size=1m tmpfs /var/lib/genkan && exec "+w.program+" \"$@\"\n")
	if err := os.Chmod(start, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := w.Genkan(w.Front, start, f.config(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	waitReady(t, p)
	all := startTraffic(t, w, 200, allKinds)
	all.mustGoOn(t)
	state := "/proc/" + strconv.Itoa(p.Pid()) + "/root/var/lib/genkan"
	ballast := filepath.Join(state, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	mustWrite(t, w.ConfigFile(w.Front), f.config(1))
	if said := w.ask(t, "reload"); !strings.Contains(said, "~ site \"load\"\n") {
		t.Errorf("reload on a full disk says %q", said)
	}
	all.mustGoOn(t)
	for _, name := range []string{"pool.db", "config/running.json"} {
		if info, err := os.Stat(filepath.Join(state, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s on a full disk: %v, %v", name, info, err)
		}
	}
	mustLog(t, p, "genkan rollback will not find this configuration", "no space left on device")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w.ConfigFile(w.Front), f.config(2))
	if said := w.ask(t, "reload"); !strings.Contains(said, "~ site \"load\"\n") {
		t.Errorf("reload says %q", said)
	}
	if text, err := os.ReadFile(filepath.Join(state, "config/running.json")); err != nil || !strings.Contains(string(text), "deny 198.51.100.2") {
		t.Errorf("running.json after the full disk: %.200q, %v", text, err)
	}
	all.mustSucceed(t, "a full disk")
}
