package integration

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
)

// recovery is how long the first answer to each family may take after the next
// start; ten times the figure, as the machine is busy.
const recovery = 10 * time.Second

// restart starts the front again and gives the time to the first answers.
func (w *world) restart(t *testing.T, config string) (*lab.Daemon, time.Duration) {
	t.Helper()
	began := time.Now()
	p := w.front(t, config)
	for _, c := range clients[:2] {
		client := newWeb(trafficClient{c.addr, c.to, w.client(c.addr)}, "http", false)
		waitUntil(t, patience, "answer after a kill", func() error { return client.ask(t.Context()) })
	}
	return p, time.Since(began)
}

// Killed at any moment, under load, in the midst of a configuration's write or
// of an upgrade, Genkan serves again at once: no lock is in the way, clients
// keep their pool addresses, no file is cut, and the tunnel is left to adopt.
func TestKillsAtRandomMoments(t *testing.T) {
	for _, datapath := range datapaths() {
		t.Run(datapath, func(t *testing.T) {
			w := mustWorld(t)
			startTrafficBackend(t, w)
			f := newTrafficFront(t)
			before := mustSnapshot(t, w.Front)
			config := func(n int) string { return onDatapath(f.config(n), datapath) }
			p := w.front(t, config(0))
			all := startTraffic(t, w, 500, allKinds)
			all.mustGoOn(t)
			pool := w.poolAddresses(t)
			var worst time.Duration
			kills, upgrades := times(20), 0
			for n := range kills {
				moment := time.Duration(rand.IntN(300)) * time.Millisecond
				switch n % 4 {
				case 1: // while a configuration comes into force, and is noted for rollback
					mustWrite(t, w.ConfigFile(w.Front), config(n))
					if err := p.Signal(syscall.SIGHUP); err != nil {
						t.Fatal(err)
					}
					moment /= 10
				case 2: // while a younger process starts
					if err := p.Signal(syscall.SIGUSR2); err != nil {
						t.Fatal(err)
					}
					upgrades++
				}
				time.Sleep(moment)
				p.Kill() // the whole group: both processes of an upgrade
				var took time.Duration
				p, took = w.restart(t, config(n))
				worst = max(worst, took)
				if now := w.poolAddresses(t); !slices.Equal(now, pool) {
					t.Errorf("after kill %d the pool has %q, had %q", n, now, pool)
				}
				w.checkWholeFiles(t)
			}
			all.stop()
			asked, failed, _ := all.total()
			t.Logf("%d kills (%d of them in an upgrade), datapath %s: serving again after at most %v; %d of %d requests failed, those under way",
				kills, upgrades, datapath, worst.Round(time.Millisecond), failed, asked)
			if worst > recovery {
				t.Errorf("serving again after %v, want 1s", worst)
			}
			if err := p.Stop(patience); err != nil {
				t.Error(err)
			}
			checkUntouched(t, w.Front, before, "after all that")
		})
	}
}

// poolAddresses are the pool's mappings of the clients, as genkan who tells them.
func (w *world) poolAddresses(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, address := range []string{"100.64.0.1", "100.64.0.2"} {
		said, _, _ := strings.Cut(w.ask(t, "who", address), ",")
		all = append(all, said)
	}
	slices.Sort(all)
	return all
}

// checkWholeFiles wants no empty file in the state directory, but for locks.
func (w *world) checkWholeFiles(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(w.Dir, w.Front.Name, "lib", "genkan"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() == 0 && !strings.Contains(path, "lock") && !strings.HasPrefix(filepath.Base(path), ".") {
			t.Errorf("%s is empty", path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
