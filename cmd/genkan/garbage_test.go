package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentOf(t *testing.T) {
	const mib = 1 << 20
	for _, row := range []struct {
		live    uint64
		sparing bool
		want    int
	}{
		{0, false, 1600},
		{mib, false, 1600},
		{4 * mib, false, 400},
		{16 * mib, false, 100},
		{500 * mib, false, 100},
		{36 * mib, true, 300},
		{110 * mib, true, 35},
		{500 * mib, true, 35},
	} {
		if got := percentOf(row.live, row.sparing); got != row.want {
			t.Errorf("%d MiB alive, sparing %v: %d, want %d", row.live/mib, row.sparing, got, row.want)
		}
	}
}

// The decision follows what is alive, from one collection to the next.
func TestCollectorFollows(t *testing.T) {
	var c collector
	c.start()
	defer c.stop()
	follows := func(low, high int) {
		t.Helper()
		percent := -1
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			runtime.GC()
			c.mu.Lock()
			percent = c.percent
			c.mu.Unlock()
			if percent >= low && percent <= high {
				return
			}
		}
		t.Errorf("percent %d, want %d to %d", percent, low, high)
	}
	follows(101, 1600)
	much := make([]byte, 64<<20)
	follows(100, 100)
	asBefore := c.spare()
	follows(90, 140)
	asBefore()
	follows(100, 100)
	runtime.KeepAlive(much)
	follows(101, 1600)
	c.stop()
	if c.start(); c.percent == 100 {
		t.Error("a collector that starts again decides nothing")
	}
	c.stop()
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	if metrics.Read(gogc); gogc[0].Value.Uint64() != 100 {
		t.Errorf("GOGC is %d at the end", gogc[0].Value.Uint64())
	}
}
