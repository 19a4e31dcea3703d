package pipe

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A wheel against the obvious: a list of when each stream is due.
func TestWheelVisitsInTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var w wheel
	due := map[*Stream]uint32{}
	for now := uint32(1); now < 20_000; now++ {
		for range r.IntN(3) {
			s := &Stream{slot: -1}
			due[s] = now + uint32(r.IntN(3*wheelSlots))
			w.put(s, due[s])
		}
		for s := range due {
			if r.IntN(50) == 0 {
				w.remove(s)
				w.remove(s) // harmless
				delete(due, s)
			}
			break
		}
		if wait, ok := w.next(); ok != (len(due) > 0) || w.count != len(due) {
			t.Fatalf("at %d: next %d %v, count %d, want %d", now, wait, ok, w.count, len(due))
		}
		w.now = now
		for s := w.slots[now%wheelSlots]; s != nil; s = w.slots[now%wheelSlots] {
			w.remove(s)
			switch {
			case due[s] > now:
				w.put(s, due[s])
			case due[s] < now-1:
				t.Fatalf("due at %d, visited at %d", due[s], now)
			default:
				delete(due, s)
			}
		}
		for s, d := range due {
			if d < now {
				t.Fatalf("at %d: due at %d, not visited", now, d)
			}
			_ = s
			break
		}
	}
}

func TestTicksRoundUp(t *testing.T) {
	rows := []struct {
		d    time.Duration
		want uint32
	}{
		{-1, 0},
		{0, 0},
		{1, 2},
		{tick, 2},
		{tick + 1, 3},
		{time.Hour, 36_001},
		{1 << 62, 1<<30 + 1},
	}
	for _, row := range rows {
		if got := ticks(row.d); got != row.want {
			t.Errorf("ticks(%v) = %d, want %d", row.d, got, row.want)
		}
	}
}
