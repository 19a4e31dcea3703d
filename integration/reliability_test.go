package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
)

// longRun says whether this is "make test-reliability", with every load and
// fault in full.
func longRun() bool { return os.Getenv("GENKAN_RELIABILITY") == "long" }

// times is how often a fault is made: a few times in every run, and n times
// by "make test-reliability".
func times(n int) int {
	if longRun() {
		return n
	}
	return max(3, n/20)
}

// No request fails while the configuration is reloaded, and a broken one
// changes nothing.
func TestReloadFailsNoRequest(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	p := w.front(t, loadConfig(0))
	l := startLoad(t, w, 2*time.Millisecond)
	reloads := times(100)
	for n := 1; n <= reloads; n++ {
		good := n%5 != 0
		config := loadConfig(n)
		if !good {
			config += "[forward.broken]\n"
		}
		mustWrite(t, w.ConfigFile(w.Front), config)
		done, refused := strings.Count(p.Output(), `"reloaded"`), strings.Count(p.Output(), "reload refused")
		if err := p.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, patience, "reload", func() error {
			out := p.Output()
			if good && strings.Count(out, `"reloaded"`) > done || !good && strings.Count(out, "reload refused") > refused {
				return nil
			}
			return fmt.Errorf("no word of reload %d, good: %v", n, good)
		})
	}
	l.stop()
	t.Logf("%d reloads: %d of %d requests failed", reloads, l.failed.Load(), l.asked.Load())
	if l.failed.Load() > 0 || l.asked.Load() < int64(reloads) {
		t.Errorf("%d of %d requests failed, the first: %v", l.failed.Load(), l.asked.Load(), l.err())
	}
}
