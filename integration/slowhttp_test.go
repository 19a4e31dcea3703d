package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// slowConfig has short bounds, lest the test last long; that all attackers
// come from one address is not what is tested.
var slowConfig = tunnelConfig + fmt.Sprintf(`
[timeouts]
header = "3s"
body_grace = "4s"
write = "6s"

[limits]
client_conns = 20000

[site.slow]
hosts  = ["default"]
listen = ["tunnel:80", "%s:80"]
to     = "%s:8080"
`, lab.FrontV4, lab.BackendV4)

// slowhttptest with 2,000 connections at once of each kind, 300 in the short
// form: slow headers, slow content, slow reading. Honest clients of both
// families do not notice, and every attacker is closed.
func TestSlowClients(t *testing.T) {
	program := require.Program(t, "slowhttptest", "slowhttptest")
	each := 300
	if longRun() {
		each = 2000
	}
	w := mustWorld(t)
	startSlowBackend(t, w, lab.BackendV4.String()+":8080")
	w.front(t, slowConfig)
	honest := startLoad(t, w, 20*time.Millisecond)
	attacks := map[string][]string{
		"slow-headers": {"-H", "-i", "5", "-x", "24"},
		"slow-content": {"-B", "-i", "2", "-x", "10", "-s", "8192"},
		"slow-reading": {"-X", "-w", "512", "-y", "1024", "-n", "2", "-z", "32"},
	}
	began := time.Now()
	ctx, stopAttacks := context.WithTimeout(t.Context(), slowPatience)
	defer stopAttacks()
	var wg sync.WaitGroup
	for name, args := range attacks {
		args = append(args, "-c", strconv.Itoa(each), "-r", strconv.Itoa(each/2), "-l", strconv.Itoa(int(slowPatience.Seconds())),
			"-p", "20", "-u", "http://"+lab.FrontV4.String()+"/big")
		wg.Go(func() {
			out, err := w.Client4.Output(ctx, program, args...)
			if ctx.Err() != nil {
				return // it was ended by us
			}
			if err != nil && out == "" {
				t.Errorf("%s: %v", name, err)
				return
			}
			// Who reads slowly learns late that the other side has gone.
			if name != "slow-reading" && !strings.Contains(out, "No open connections left") {
				t.Errorf("%s: attackers are still connected after %v:\n%s", name, time.Since(began), lastLines(out, 15))
			}
		})
	}
	most := 0
	for ; ; time.Sleep(100 * time.Millisecond) {
		n := w.established(t, 80)
		if most = max(most, n); most > each && n < 50 {
			t.Logf("%d connections at most; the last attacker is closed after %v", most, time.Since(began).Round(time.Second/10))
			break
		}
		if time.Since(began) > slowPatience {
			t.Errorf("%d connections of at most %d are still open", n, most)
			break
		}
	}
	honest.stop()
	stopAttacks()
	wg.Wait()
	if n := honest.failed.Load(); n > 0 {
		t.Errorf("%d of %d honest requests failed, the first: %v", n, honest.asked.Load(), honest.err())
	}
	t.Logf("%d of %d honest requests failed meanwhile", honest.failed.Load(), honest.asked.Load())
}

// slowPatience is ten times what a slow client is given.
const slowPatience = 2 * time.Minute

// established counts the front's IPv4 connections to a port.
func (w *world) established(t *testing.T, port uint16) (n int) {
	t.Helper()
	err := w.Front.Do(func() error {
		table, err := os.ReadFile("/proc/thread-self/net/tcp")
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line)
			if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == "01" { // TCP_ESTABLISHED
				n++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}

// startSlowBackend has loadPage, and at /big what fills every buffer on the way.
func startSlowBackend(t *testing.T, w *world, addr string) {
	t.Helper()
	big := strings.Repeat("0123456789abcdef", 1<<17)
	startHandler(t, w, addr, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" && r.Method == http.MethodGet {
			_, _ = io.WriteString(w, big)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, loadPage)
	})
}
