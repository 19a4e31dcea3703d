package proxy

import (
	"sync/atomic"
	"time"
)

// HistogramBounds gives the upper bounds of a Histogram's buckets; the last
// bucket has none.
func HistogramBounds() []time.Duration {
	const ms = time.Millisecond
	return []time.Duration{
		ms, 5 * ms / 2, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms,
		time.Second, 5 * time.Second / 2, 5 * time.Second, 10 * time.Second,
	}
}

// A Histogram counts durations. The zero value has none.
type Histogram struct {
	Counts []int64       `json:"counts"` // by bucket, not added up; null where nothing was observed
	Sum    time.Duration `json:"sum"`    // nanoseconds
}

// Count is how many durations there are.
func (h Histogram) Count() (n int64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Since gives what came after an earlier snapshot of the same histogram.
func (h Histogram) Since(before Histogram) Histogram {
	if len(before.Counts) == 0 || len(h.Counts) == 0 {
		return h
	}
	d := Histogram{Sum: h.Sum - before.Sum}
	for i, c := range h.Counts {
		d.Counts = append(d.Counts, max(c-before.Counts[i], 0))
	}
	return d
}

// Quantile estimates the duration that a share q of all does not exceed, taking
// those of a bucket as spread evenly. What lies in the last bucket counts as its
// lower bound; zero of nothing.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	rank, bounds, low := q*float64(h.Count()), HistogramBounds(), time.Duration(0)
	for i, bound := range bounds {
		c := float64(h.Counts[i])
		if rank <= c && c > 0 {
			return low + time.Duration(rank/c*float64(bound-low))
		}
		rank -= c
		low = bound
	}
	return low
}

// histogramBuckets is one more than HistogramBounds has.
const histogramBuckets = 14

// A histogram is a Histogram that is being counted. It is safe for concurrent
// use.
type histogram struct {
	counts [histogramBuckets]atomic.Int64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for _, bound := range HistogramBounds() {
		if d <= bound {
			break
		}
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) snapshot() Histogram {
	var s Histogram
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			if s.Counts == nil {
				s.Counts = make([]int64, histogramBuckets)
			}
			s.Counts[i] = n
		}
	}
	s.Sum = time.Duration(h.sum.Load())
	return s
}
