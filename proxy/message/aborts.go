package message

import "time"

// abortWindow is the time that Aborts looks at.
const abortWindow = 30 * time.Second

// Aborts counts the requests of one connection that its client gave up, or
// made us give up, before they were answered (CVE-2023-44487, CVE-2025-8671).
// It is not safe for concurrent use.
type Aborts struct {
	// Max is how many may be within 30 s, where they are more than half of all.
	Max int

	begun, aborted int
	since          time.Time
}

// Begin counts a new request.
func (a *Aborts) Begin(now time.Time) {
	if now.Sub(a.since) > abortWindow {
		a.begun, a.aborted, a.since = 0, 0, now
	}
	a.begun++
}

// GivenUp counts one that was given up, and reports whether it was one too many.
func (a *Aborts) GivenUp() bool {
	a.aborted++
	return a.aborted > a.Max && a.aborted*2 > a.begun
}

// Counts gives how many requests were given up, of how many.
func (a *Aborts) Counts() (aborted, begun int) { return a.aborted, a.begun }
