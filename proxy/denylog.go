package proxy

import (
	"log/slog"
	"sync"
	"time"

	"genkan/acl"
)

// A denyLog logs denials, with a bound on the lines of each rule:
// a flood of refused clients must not fill the disk. It is safe for concurrent
// use.
type denyLog struct {
	log *slog.Logger

	mu    sync.Mutex // guards rules
	rules map[ruleKey]*ruleLog
}

// Lines a rule may write at once, and how long until it may write one more.
const (
	denyBurst = 10
	denyEvery = time.Second
)

type ruleKey struct {
	kind, name string
	pos        acl.Pos
	rule       string
}

type ruleLog struct {
	suppressed int64     // since the last line
	full       time.Time // when the burst is whole again
}

func newDenyLog(log *slog.Logger) *denyLog {
	return &denyLog{log: log, rules: map[ruleKey]*ruleLog{}}
}

// note takes a denial of client by v, at the site or forward called name.
// message is "denied", or "would be denied" in shadow mode.
func (d *denyLog) note(message, kind, name string, client acl.Addr, v acl.Verdict) {
	suppressed, ok := d.count(ruleKey{kind, name, v.Pos, v.Rule})
	if !ok {
		return
	}
	attrs := []any{kind, name, "client", client, "rule", v.Rule, "at", v.Pos.String(), "why", v.Why}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	d.log.Info(message, attrs...)
}

// count takes a denial, and tells whether it may write a line and how many
// before it could not.
func (d *denyLog) count(key ruleKey) (suppressed int64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rules[key]
	if r == nil {
		r = &ruleLog{}
		d.rules[key] = r
	}
	now := time.Now()
	if r.full.Before(now) {
		r.full = now
	}
	if r.full.Sub(now) > (denyBurst-1)*denyEvery {
		r.suppressed++
		return 0, false
	}
	r.full = r.full.Add(denyEvery)
	suppressed, r.suppressed = r.suppressed, 0
	return suppressed, true
}

// reset forgets the rules: a reload brought others.
func (d *denyLog) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.rules)
}
