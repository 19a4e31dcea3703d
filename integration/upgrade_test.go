package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
)

// datapaths are those that a reliability test runs with: in short form the one
// in which this process moves each packet itself.
func datapaths() []string {
	if times(20) < 20 {
		return []string{"userspace"}
	}
	return []string{"userspace", "ebpf"}
}

// onDatapath names the tunnel's datapath in a configuration.
func onDatapath(config, datapath string) string {
	return strings.Replace(config, "[tunnel]\n", fmt.Sprintf("[tunnel]\ndatapath = %q\n", datapath), 1)
}

// No request fails while the program is replaced again and again, whatever way
// it came: the younger process goes on with listeners, tunnel, UDP sessions and
// QUIC, and the older one lets its connections finish.
func TestUpgradeFailsNoRequest(t *testing.T) {
	for _, datapath := range datapaths() {
		t.Run(datapath, func(t *testing.T) {
			w := mustWorld(t)
			startTrafficBackend(t, w)
			f := newTrafficFront(t)
			before := mustSnapshot(t, w.Front)
			p := w.front(t, onDatapath(f.config(0), datapath))
			all := startTraffic(t, w, 500, allKinds)
			upgrades := times(20)
			for range upgrades {
				all.mustGoOn(t)
				old := p.Pid()
				said := w.ask(t, "upgrade")
				if !strings.Contains(said, fmt.Sprintf("process %d is done", old)) || p.Pid() == old {
					t.Fatalf("upgrade says:\n%s", said)
				}
			}
			all.mustSucceed(t, fmt.Sprintf("%d upgrades, datapath %s", upgrades, datapath))
			if err := p.Stop(patience); err != nil {
				t.Error(err)
			}
			checkUntouched(t, w.Front, before, "after all that")
		})
	}
}

// An upgrade that does not succeed changes nothing, and says why.
func TestUpgradeThatFails(t *testing.T) {
	w := mustWorld(t)
	startTrafficBackend(t, w)
	f := newTrafficFront(t)
	config := onDatapath(f.config(0), "userspace")
	p := w.front(t, config)
	pid := p.Pid()
	all := startTraffic(t, w, 300, allKinds)
	script := func(name, text string) string {
		path := filepath.Join(w.Dir, name)
		mustWrite(t, path, "#!/bin/sh\n"+text+"\n")
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var taken net.Listener
	err := w.Front.Do(func() (err error) {
		taken, err = net.Listen("tcp4", lab.FrontV4.String()+":7009")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, row := range []struct{ name, binary, config, want string }{
		{"no-such-binary", filepath.Join(w.Dir, "absent"), config, "no such file"},
		{"not-executable", w.ConfigFile(w.Front), config, "permission denied"},
		{"no-program", script("garbage", "\x7fELF"), config, "it ended (exit status 127) before it was ready"},
		{"ends-at-once", script("ends", "exit 3"), config, "it ended (exit status 3) before it was ready"},
		{"crashes", script("crashes", "kill -SEGV $$"), config, "before it was ready"},
		{"never-ready", script("sleeps", "exec sleep 60"), config, "it was not ready in time"},
		{"bad-configuration", w.program, config + "[forward.broken]\n", `forward "broken"`},
		// This one fails when clients wait already, and all was given over.
		{"port-in-use", w.program, strings.Replace(config, `"`+lab.FrontV4.String()+`:7000"`, `"`+lab.FrontV4.String()+`:7009"`, 1), "port in use"},
	} {
		mustWrite(t, w.ConfigFile(w.Front), row.config)
		within := patience
		if row.name == "never-ready" {
			within = time.Second
		}
		said := w.ask(t, "upgrade", "--within", within.String(), row.binary)
		if !strings.Contains(said, "the running Genkan goes on: ") || !strings.Contains(said, row.want) {
			t.Errorf("%s: upgrade says %q, want %q in it", row.name, said, row.want)
		}
		if got := p.Pid(); got != pid || lab.Ended(pid) {
			t.Fatalf("%s: process %d serves, want %d", row.name, got, pid)
		}
		all.mustGoOn(t)
	}
	all.mustSucceed(t, "8 upgrades that fail")
}

// mustGoOn waits until every kind of client has asked some more.
func (f *traffic) mustGoOn(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	was := map[string]int{}
	for kind, k := range f.kinds {
		was[kind] = k.asked
	}
	f.mu.Unlock()
	waitUntil(t, patience, "traffic", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for kind, k := range f.kinds {
			if k.asked < was[kind]+3 {
				return fmt.Errorf("%s has asked %d times more", kind, k.asked-was[kind])
			}
		}
		return nil
	})
}

// mustReach waits until all kinds together have asked so often.
func (f *traffic) mustReach(t *testing.T, asked int) {
	t.Helper()
	waitUntil(t, patience, "traffic", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		sum := 0
		for _, k := range f.kinds {
			sum += k.asked
		}
		if sum < asked {
			return fmt.Errorf("%d requests of %d", sum, asked)
		}
		return nil
	})
}

// A second process that was started by accident says so and leaves, and the
// first one does not notice.
func TestTwoProcesses(t *testing.T) {
	w := mustWorld(t)
	startTrafficBackend(t, w)
	f := newTrafficFront(t)
	p := w.front(t, f.config(0))
	all := startTraffic(t, w, 100, allKinds)
	began := time.Now()
	second, err := w.Private(w.Front, w.program, "run", "-c", w.ConfigFile(w.Front))
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.Front.RunCmd(second)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-q.Done():
	case <-time.After(patience):
		t.Error("the second process goes on")
	}
	q.Kill()
	want := fmt.Sprintf("another Genkan (process %d) has /var/lib/genkan; stop it", p.Pid())
	if !strings.Contains(q.Output(), want) || q.Err() == nil {
		t.Errorf("the second process says (%v):\n%s\nwant %q", q.Err(), q.Output(), want)
	}
	t.Logf("the second process left after %v", time.Since(began).Round(time.Millisecond))
	all.mustGoOn(t)
	all.mustSucceed(t, "a second process")
	if said := w.ask(t, "status"); !strings.Contains(said, fmt.Sprintf("process %d,", p.Pid())) {
		t.Errorf("status: %s", said)
	}
}
