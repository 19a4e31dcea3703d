package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"genkan/proxy"
)

// What a history keeps: an hour by families, a minute or two by sites and forwards.
const (
	historyEvery = 10 * time.Second
	historyLong  = 360
	minuteEvery  = 6 // samples
)

// A familySample is how many connections had been accepted by a moment.
type familySample struct {
	at         time.Time
	ipv4, ipv6 int64
}

// A servicesSample is how sites and forwards stood at a moment.
type servicesSample struct {
	at       time.Time
	services map[[2]string]proxy.ServiceStats // by kind and name; those that are missing had counted nothing
}

// A history remembers what rates are made of. The zero history remembers nothing.
type history struct {
	mu       sync.Mutex     // guards the fields below
	families []familySample // the oldest first, historyLong at most
	minutes  [2]servicesSample
	samples  int
}

// serve takes samples until ctx ends.
func (h *history) serve(ctx context.Context, s *proxy.Server) {
	tick := time.NewTicker(historyEvery)
	defer tick.Stop()
	for {
		ipv4, ipv6 := s.Families()
		h.add(time.Now(), ipv4, ipv6, s.Services)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// add takes one sample. services is asked now and then only: there may be ten thousand.
func (h *history) add(at time.Time, ipv4, ipv6 proxy.FamilyStats, services func() []proxy.ServiceStats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.families) == historyLong {
		h.families = slices.Delete(h.families, 0, 1)
	}
	h.families = append(h.families, familySample{at, ipv4.Accepted, ipv6.Accepted})
	if h.samples%minuteEvery == 0 {
		h.minutes[0], h.minutes[1] = h.minutes[1], servicesSample{at, servicesByName(services())}
	}
	h.samples++
}

// servicesByName keeps those that anything has happened to: of ten thousand, few.
func servicesByName(all []proxy.ServiceStats) map[[2]string]proxy.ServiceStats {
	byName := make(map[[2]string]proxy.ServiceStats)
	for _, s := range all {
		if s.Allowed+s.Denied+s.Shadowed+s.Failed > 0 {
			byName[[2]string{s.Kind, s.Name}] = s
		}
	}
	return byName
}

// before is how sites and forwards stood one to two minutes ago, or as early as is known.
func (h *history) before() servicesSample {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.minutes[0].services != nil {
		return h.minutes[0]
	}
	return h.minutes[1]
}

// A familyRate is how many connections a second came in a span.
type familyRate struct{ ipv4, ipv6 float64 }

// rates are those of each span between two samples, the oldest first.
func (h *history) rates() []familyRate {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []familyRate
	for i := 1; i < len(h.families); i++ {
		a, b := h.families[i-1], h.families[i]
		seconds := max(b.at.Sub(a.at).Seconds(), 0.001)
		all = append(all, familyRate{float64(b.ipv4-a.ipv4) / seconds, float64(b.ipv6-a.ipv6) / seconds})
	}
	return all
}

// findingsEvery is how old doctor's findings on the page may be, before they are looked for anew.
const findingsEvery = 5 * time.Minute

// A checkedUp is what doctor last found, for the status page: it looks only while somebody looks at that.
type checkedUp struct {
	asked chan struct{} // holds one

	mu       sync.Mutex // guards the fields below
	at       time.Time  // zero: never
	findings []diagnosis
}

func newCheckedUp() *checkedUp { return &checkedUp{asked: make(chan struct{}, 1)} }

// serve looks when asked, until ctx ends. What probes servers as a client would is left to "genkan doctor".
func (c *checkedUp) serve(ctx context.Context, f *front) {
	for {
		select {
		case <-c.asked:
		case <-ctx.Done():
			return
		}
		p := newPatient(ctx, f.lists.current(), f.socket)
		p.gently = true
		found := examine(ctx, p)
		c.mu.Lock()
		c.at, c.findings = time.Now(), found
		c.mu.Unlock()
	}
}

// last is what was found last; it asks for more where that is old.
func (c *checkedUp) last() (time.Time, []diagnosis) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > findingsEvery {
		select {
		case c.asked <- struct{}{}:
		default:
		}
	}
	return c.at, c.findings
}
