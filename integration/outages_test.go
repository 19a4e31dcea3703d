package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
)

// stayingV4 is an address of the front that stays whatever becomes of the uplink's.
const stayingV4 = "203.0.113.200"

// outagesConfig serves one page by the tunnel and by that address.
func outagesConfig() string {
	return strings.ReplaceAll(loadConfig(0), lab.FrontV4.String()+":80", stayingV4+":80")
}

// mustOutages starts the front with that address, under load of IPv4 clients.
func mustOutages(t *testing.T) (*world, *load) {
	t.Helper()
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	if err := w.Front.AddAddr("eth0", netip.MustParsePrefix(stayingV4+"/32")); err != nil {
		t.Fatal(err)
	}
	w.front(t, outagesConfig())
	l := &load{end: make(chan struct{})}
	for _, keep := range []bool{true, false} {
		client := w.httpClient(lab.Client4.String(), keep)
		l.done.Go(func() {
			defer client.CloseIdleConnections()
			l.run(t.Context(), client, "http://"+stayingV4+"/", 5*time.Millisecond)
		})
	}
	t.Cleanup(l.stop)
	return w, l
}

// outage makes a fault and measures until an IPv6 client has the page again.
func (w *world) outage(t *testing.T, what string, at netip.Addr, fault func()) time.Duration {
	t.Helper()
	begin := time.Now()
	fault()
	waitUntil(t, patience, "answer by IPv6 after "+what, func() error {
		return reach(w.Client6, "["+at.String()+"]:80", 500*time.Millisecond)
	})
	took := time.Since(begin)
	if err := ask(t.Context(), w.httpClient(lab.Client6.String(), false), "http://["+at.String()+"]/"); err != nil {
		t.Errorf("after %s: %v", what, err)
	}
	return took
}

func (l *load) checkNoFailure(t *testing.T, n int, what string, times []time.Duration) {
	t.Helper()
	l.stop()
	worst := time.Duration(0)
	for _, d := range times {
		worst = max(worst, d)
	}
	t.Logf("%d %s: IPv6 is back after at most %v %v; IPv4: %d of %d requests failed", n, what, worst.Round(time.Millisecond), times, l.failed.Load(), l.asked.Load())
	if l.failed.Load() > 0 || l.asked.Load() < int64(n) {
		t.Errorf("%d of %d IPv4 requests failed, the first: %v", l.failed.Load(), l.asked.Load(), l.err())
	}
	if worst > patience { // the figure is 5 s
		t.Errorf("IPv6 was away for %v", worst)
	}
}

// TestDeletionsUnderLoad: whoever deletes the tunnel's interface, IPv6 is back within seconds, and IPv4 sees nothing of it.
func TestDeletionsUnderLoad(t *testing.T) {
	w, l := mustOutages(t)
	var took []time.Duration
	n := times(20)
	for i := range n {
		took = append(took, w.outage(t, fmt.Sprint("deletion ", i), lab.Front6, func() {
			if err := w.Front.DelLink("tun6rd"); err != nil {
				t.Fatal(err)
			}
		}))
	}
	l.checkNoFailure(t, n, "deletions", took)
}

// TestAddressChangesUnderLoad: prefix, address, filter and listeners follow the uplink's address within seconds, the old
// ones are gone, and IPv4 on another address sees nothing of it.
func TestAddressChangesUnderLoad(t *testing.T) {
	w, l := mustOutages(t)
	var took []time.Duration
	n := times(20)
	v4, old6 := lab.FrontV4, lab.Front6
	for i := range n {
		next := v4.Next()
		b := next.As4()
		next6 := netip.MustParseAddr(fmt.Sprintf("2001:e41:%x:%x::1", uint16(b[0])<<8|uint16(b[1]), uint16(b[2])<<8|uint16(b[3])))
		took = append(took, w.outage(t, fmt.Sprint("change ", i), next6, func() { w.changeFrontV4(t, v4, next) }))
		if s := strings.Join(mustSnapshot(t, w.Front), "\n"); strings.Contains(s, strings.TrimSuffix(old6.String(), ":1")) {
			t.Errorf("%s stands after the change to %s:\n%s", old6, next6, s)
		}
		v4, old6 = next, next6
	}
	l.checkNoFailure(t, n, "changes of the IPv4 address", took)
}
