package acl

import (
	"sync/atomic"
	"time"
)

// A List is a named set of addresses that is replaced as a whole while rules
// use it: what a file or the configuration says, and entries added at run
// time. Package acl/list fills it. The zero List is empty.
type List struct {
	base  atomic.Pointer[Set]
	added atomic.Pointer[added]
	fixed bool // the base stays: see NewList
}

// An Entry is added to a List at run time.
type Entry struct {
	Range Range
	Until time.Time // when it ends; zero: never
}

// added are run-time entries and the set of those that were alive when it was
// made. next is when the first of these ends.
type added struct {
	entries []Entry
	alive   *Set
	next    time.Time
}

// NewList returns a list whose content stays, other than the entries added at
// run time. One that is to be swapped is a zero List at first: of what it
// holds, Warnings say nothing that the next version would belie.
func NewList(s *Set) *List {
	l := &List{fixed: true}
	l.Swap(s)
	return l
}

// Swap replaces the content, other than the entries added at run time.
func (l *List) Swap(s *Set) { l.base.Store(s) }

// SetEntries replaces the entries added at run time. The caller does so again
// when one ends; until then Contains still tells the dead from the living, at
// a higher price.
func (l *List) SetEntries(entries []Entry, now time.Time) {
	a := &added{entries: entries}
	var b SetBuilder
	for _, e := range entries {
		if e.Alive(now) {
			b.Add(e.Range)
			if !e.Until.IsZero() && (a.next.IsZero() || e.Until.Before(a.next)) {
				a.next = e.Until
			}
		}
	}
	a.alive = b.Build()
	l.added.Store(a)
}

// Alive reports whether e still holds.
func (e Entry) Alive(now time.Time) bool { return e.Until.IsZero() || now.Before(e.Until) }

// Set returns the content without the entries added at run time.
func (l *List) Set() *Set { return l.base.Load() }

// Entries returns the entries added at run time, also those that have ended.
func (l *List) Entries() []Entry {
	if a := l.added.Load(); a != nil {
		return a.entries
	}
	return nil
}

// Contains reports whether a is in the list at a moment; the zero time is now.
func (l *List) Contains(a Addr, at time.Time) bool {
	return a.IsValid() && l.has(keyOf(a), at)
}

func (l *List) has(k key, at time.Time) bool {
	if l.base.Load().has(k) {
		return true
	}
	added := l.added.Load()
	return added != nil && added.has(at, added.alive.has(k), Range{}, k)
}

// containsInside is has for an IPv4 address found inside an IPv6 one.
func (l *List) containsInside(v4 uint32, at time.Time) bool {
	if l.base.Load().containsInside(v4) {
		return true
	}
	added := l.added.Load()
	return added != nil && added.has(at, added.alive.containsInside(v4), all4, key{u128{0, uint64(v4)}, true})
}

// has takes the word of the living set, and asks the entries one by one, other
// than except, where that set may be out of date.
func (a *added) has(at time.Time, living bool, except Range, k key) bool {
	if at.IsZero() {
		if !living || a.next.IsZero() {
			return living
		}
		if at = time.Now(); at.Before(a.next) {
			return true
		}
	}
	for _, e := range a.entries {
		if e.Alive(at) && e.Range != except && e.Range.Contains(k.addr()) {
			return true
		}
	}
	return false
}
