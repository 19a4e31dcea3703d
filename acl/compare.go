package acl

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"
)

// A Change is a client whose verdict differs between two rule sets.
type Change struct {
	Client        Addr
	Lines         int // of the log
	Before, After Verdict
}

// A Comparison is what two rule sets make of the clients in a log.
type Comparison struct {
	Lines   int      // with a client
	Clients int      // different ones
	Skipped int      // lines without a client
	Changes []Change // the most frequent first
}

// What Compare holds in memory at most.
const (
	maxCompared = 1_000_000
	maxLogLine  = 64 << 10
)

// Compare reads a log and says whose verdict differs between two rule sets.
// The client of a line is its first word, as in the Common Log Format, else the
// value of "client", as in our own logs (client=192.0.2.1 or
// "client":"192.0.2.1"); not the other way round, as what strangers ask for may
// hold "client=", too. Clients of our 6rd domain count as having come through
// the tunnel, as others of that look are dropped before any rule.
// Gates are passed over: a log does not tell how they stood.
func Compare(before, after *Policy, log io.Reader) (Comparison, error) {
	var c Comparison
	lines := map[Addr]int{}
	r := bufio.NewReaderSize(log, maxLogLine)
	for {
		start, more, err := r.ReadLine()
		line := string(start)
		for more && err == nil { // who it was stands at the start
			_, more, err = r.ReadLine()
		}
		if err == io.EOF && line == "" {
			break
		}
		if err != nil && err != io.EOF {
			return c, err
		}
		a, ok := clientOf(line)
		if !ok {
			c.Skipped++
			continue
		}
		c.Lines++
		if _, known := lines[a]; !known && len(lines) >= maxCompared {
			return c, errors.New("acl: more than a million clients in one log; give it in parts")
		}
		lines[a]++
	}
	c.Clients = len(lines)
	for a, n := range lines {
		x, y := before.Recheck(before.client(a)), after.Recheck(after.client(a))
		if x.Allow != y.Allow {
			c.Changes = append(c.Changes, Change{a, n, x, y})
		}
	}
	slices.SortFunc(c.Changes, func(x, y Change) int {
		return cmp.Or(cmp.Compare(y.Lines, x.Lines), x.Client.Compare(y.Client))
	})
	return c, nil
}

// client is a as it must have come.
func (p *Policy) client(a Addr) Client {
	return Client{a, p != nil && p.in.sixrd.Prefix.Contains(a)}
}

// clientOf finds the client of a log line.
func clientOf(line string) (Addr, bool) {
	first, _, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
	if a, err := ParseXFF(first); err == nil {
		return a, true
	}
	for _, key := range []string{`"client":"`, "client="} {
		_, rest, ok := strings.Cut(line, key)
		if !ok {
			continue
		}
		if i := strings.IndexAny(rest, "\" \t"); i >= 0 {
			rest = rest[:i]
		}
		if a, err := ParseXFF(rest); err == nil {
			return a, true
		}
	}
	return Addr{}, false
}
