package icmp

import (
	"hash/maphash"
	"time"
)

// Bounds of a Limiter: answers in all and to one /64.
const (
	totalRate  = 1000 // a second
	totalBurst = 50
	eachRate   = 10
	eachBurst  = 10
	limitSlots = 256
)

// A Limiter bounds how many errors are sent (RFC 4443 §2.4 f): in all, and to
// one /64, so that one talker does not use up what others need. Its memory is
// fixed: two /64 may share a slot, and then a rate. It is not safe for
// concurrent use. The nil Limiter allows nothing; get one by NewLimiter.
type Limiter struct {
	seed  maphash.Seed
	total bucket
	each  [limitSlots]bucket
}

// NewLimiter returns a full Limiter.
func NewLimiter() *Limiter { return &Limiter{seed: maphash.MakeSeed()} }

// Allow reports whether one more error may go to dst now, and counts it.
func (l *Limiter) Allow(dst [16]byte, now time.Time) bool {
	if l == nil {
		return false
	}
	slot := &l.each[maphash.Bytes(l.seed, dst[:8])%limitSlots]
	if !slot.has(now, eachRate, eachBurst) || !l.total.has(now, totalRate, totalBurst) {
		return false
	}
	slot.tokens--
	l.total.tokens--
	return true
}

// A bucket is a token bucket; the zero bucket is full.
type bucket struct {
	tokens float64
	last   time.Time
}

// has fills the bucket up to now and reports whether it has a token.
func (b *bucket) has(now time.Time, rate, burst float64) bool {
	if b.last.IsZero() {
		b.tokens = burst
	} else if d := now.Sub(b.last).Seconds(); d > 0 {
		b.tokens = min(burst, b.tokens+d*rate)
	}
	b.last = now
	return b.tokens >= 1
}
