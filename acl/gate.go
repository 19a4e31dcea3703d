package acl

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"genkan/acl/limit"
)

// Limits holds the counters of all gates. Policies compiled with the same
// Limits and Scope go on with the counts of their equal rules, which is how
// counts outlive a reload. It is safe for concurrent use.
type Limits struct {
	start    time.Time
	table    *limit.Table
	conns    *limit.Conns
	unproven *Limits
}

// NewLimits returns counters for at most maxKeys clients and prefixes, each
// of at most 128 bytes; 0 means limit.DefaultMaxKeys.
func NewLimits(maxKeys int) *Limits {
	if maxKeys <= 0 {
		maxKeys = limit.DefaultMaxKeys
	}
	l := &Limits{start: time.Now(), table: limit.NewTable(maxKeys), conns: limit.NewConns()}
	l.unproven = &Limits{start: l.start, table: limit.NewTable(max(1, maxKeys/8)), conns: l.conns}
	l.unproven.unproven = l.unproven
	return l
}

// Unproven returns the counters, of an eighth of the room besides, for
// services whose clients may give a false address, as anybody can in a UDP
// datagram: who fills them has not filled those of TCP, whose clients have
// proven theirs.
func (l *Limits) Unproven() *Limits { return l.unproven }

// A gate is "limit N/T" (window > 0) or "conns N".
type gate struct {
	id      uint64
	n       int
	window  time.Duration
	length  int     // of the IPv6 key
	tiers   [2]tier // on top of it
	targets string  // as written
	sixrd   SixRD
	limits  *Limits
	refuse  string // why, when over the bound
}

// A tier bounds what an owner of many keys can do.
type tier struct{ length, n int }

// maxGates bounds the gates of one rule set, as each costs on every attempt.
const maxGates = 8

// parseGate reads "N/T" or "N" and "per /LEN"; it returns the targets.
func parseGate(v verb, words []string, env *Env) (*gate, []string, error) {
	g := &gate{length: 64, sixrd: env.SixRD, limits: env.Limits}
	if len(words) == 0 {
		return nil, nil, fail("", "write %s", v.usage())
	}
	text := words[0]
	words = words[1:]
	if v == limits {
		count, span, ok := strings.Cut(text, "/")
		if _, err := strconv.ParseUint(text, 10, 64); !ok && err != nil {
			return nil, nil, fail(text, "write %s", v.usage())
		}
		if !ok {
			return nil, nil, fail(text, "no span of time; write %q", text+"/30s")
		}
		window, err := parseWindow(text, span)
		if err != nil {
			return nil, nil, err
		}
		text, g.window = count, window
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1_000_000 || strconv.Itoa(n) != text {
		return nil, nil, fail(text, "a bound is a number from 1 to 1000000; write %s", v.usage())
	}
	g.n = n
	if len(words) > 0 && strings.HasPrefix(words[0], "per") {
		if words, err = g.parsePer(words); err != nil {
			return nil, nil, err
		}
	}
	g.setTiers()
	g.refuse = "more than " + strconv.Itoa(n) + " connections"
	if v == limits {
		g.refuse = "more than " + strconv.Itoa(n) + " attempts in " + shortDuration(g.window)
	}
	return g, words, nil
}

// ParseDuration reads what time.ParseDuration reads, and whole days: "7d".
func ParseDuration(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	return time.Duration(n) * 24 * time.Hour, err
}

// parseWindow reads a time like 30s, 5m, 1h30m, 1d.
func parseWindow(text, span string) (time.Duration, error) {
	window, err := ParseDuration(span)
	if err != nil {
		if long, lerr := ParseDuration("1" + span); lerr == nil {
			return 0, fail(text, "how many of %q? write %q", span, strings.TrimSuffix(text, span)+shortDuration(long))
		}
		return 0, fail(text, "%q is no span of time; write it like 30s, 5m or 1h", clip(span))
	}
	if window < 100*time.Millisecond || window > limit.MaxWindow {
		return 0, fail(text, "the span of time is from 100ms to 168h")
	}
	return window, nil
}

// shortDuration writes 1m0s as 1m.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// parsePer reads "per /LEN" off the front of words.
func (g *gate) parsePer(words []string) ([]string, error) {
	if words[0] != "per" || len(words) < 2 || !strings.HasPrefix(words[1], "/") {
		return nil, fail(words[0], "write \"per /64\", with spaces")
	}
	n, ok := decimal(words[1][1:], 128)
	if !ok || n < 32 {
		return nil, fail(words[1], "the IPv6 key has a length from /32 to /128")
	}
	g.length = n
	return words[2:], nil
}

// setTiers: who owns a /48 owns 65,536 keys of the default length. The bound
// of a /56 is 8 times and that of a /48 is 32 times the key's.
func (g *gate) setTiers() {
	if g.length > 56 {
		g.tiers[0] = tier{56, 8 * g.n}
	}
	if g.length > 48 {
		g.tiers[1] = tier{48, 32 * g.n}
	}
}

// dropTier takes away the implied tier of a length that the operator has set
// by a gate of its own.
func (g *gate) dropTier(length int) {
	for i := range g.tiers {
		if g.tiers[i].length == length {
			g.tiers[i] = tier{}
		}
	}
}

// identify makes the counters' identity: equal rules of one scope are told
// apart by their order.
func (g *gate) identify(scope, text string, nth int) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %d", scope, text, nth)
	g.id = h.Sum64()
}

// attempt says under which keys a client counts.
func (g *gate) attempt(a Addr) limit.Attempt {
	at := limit.Attempt{Rule: g.id, Window: g.window, N: 1}
	if a.Is4() {
		b := a.ip.As4()
		v4 := uint64(binary.BigEndian.Uint32(b[:]))
		at.Levels[0] = limit.Level{Key: limit.Key{Lo: v4, Len: 1032}, Max: g.n}
		at.Overflow = limit.Level{Key: limit.Key{Lo: v4 >> 8, Len: 1024}, Max: 32 * g.n}
		return at
	}
	k := key6(a.ip)
	length, tiers := g.length, g.tiers
	switch {
	case g.sixrd.IsValid() && g.sixrd.Prefix.Contains(a):
		// Each delegated prefix is another host, and the neighbours in a /48
		// are strangers: no tiers.
		length, tiers = g.sixrd.delegatedLen(), [2]tier{}
	case k.hi>>48 == 0x2002: // RFC 3056 §2: one IPv4 address owns a /48
		length, tiers = 48, [2]tier{}
	}
	at.Levels[0] = level6(k, length, g.n)
	for _, t := range tiers {
		if t.length > 0 {
			at.Levels[at.N] = level6(k, t.length, t.n)
			at.N++
		}
	}
	at.Overflow = level6(k, 32, 32*g.n)
	return at
}

func level6(k u128, length, n int) limit.Level {
	return limit.Level{Key: limit.Key{Hi: k.hi & upper(length), Lo: k.lo & upper(length-64), Len: uint16(length)}, Max: n}
}

// upper is a mask of the n upper bits; n outside 0 to 64 means none or all.
func upper(n int) uint64 {
	switch {
	case n <= 0:
		return 0
	case n >= 64:
		return ^uint64(0)
	}
	return ^uint64(0) << (64 - n)
}

// take asks the gate for one attempt and counts it if it passes.
func (g *gate) take(a Addr) (ok bool, wait time.Duration) {
	at := g.attempt(a)
	if g.window == 0 {
		return g.limits.conns.Acquire(&at), 0
	}
	return g.limits.table.Take(time.Since(g.limits.start), &at)
}

// untake gives back what take counted.
func (g *gate) untake(a Addr) {
	at := g.attempt(a)
	if g.window == 0 {
		g.limits.conns.Release(&at)
		return
	}
	g.limits.table.Untake(time.Since(g.limits.start), &at)
}

// levels describes what counts for a client, for explain.
func (g *gate) levels(a Addr) []LevelUse {
	at := g.attempt(a)
	counts := g.limits.conns.Used(&at)
	if g.window > 0 {
		counts = g.limits.table.Used(time.Since(g.limits.start), &at)
	}
	var all []LevelUse
	for i, l := range at.Levels[:at.N] {
		prefix := a.String()
		if a.Is6() {
			p, _ := a.ip.Prefix(int(l.Key.Len))
			prefix = p.String()
		}
		all = append(all, LevelUse{prefix, counts[i], l.Max})
	}
	return all
}
