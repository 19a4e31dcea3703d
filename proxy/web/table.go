package web

import (
	"fmt"
	"strings"
)

// A Table finds what a host name means: an exact name first, then the longest
// wildcard, then the default. The zero Table finds nothing. Once in use it is
// not changed.
type Table[T any] struct {
	exact    map[string]T
	wildcard map[string]T // "*.example.jp" under "example.jp"
	fallback T
	hasAny   bool
}

// Add enters one pattern: a host name or address in canonical form, "*.NAME"
// or "default". A pattern that is there already is an error.
func (t *Table[T]) Add(pattern string, value T) error {
	if pattern == "default" {
		if t.hasAny {
			return fmt.Errorf("host %q is given twice on one listener", pattern)
		}
		t.fallback, t.hasAny = value, true
		return nil
	}
	name, isWild := strings.CutPrefix(pattern, "*.")
	names := &t.exact
	if isWild {
		names = &t.wildcard
	}
	if _, taken := (*names)[name]; taken {
		return fmt.Errorf("host %q is given twice on one listener", pattern)
	}
	if *names == nil {
		*names = map[string]T{}
	}
	(*names)[name] = value
	return nil
}

// Find gives what host, in canonical form, means; "" matches the default only.
// A wildcard stands for one label or more, so "*.example.jp" takes
// a.b.example.jp and not example.jp.
func (t *Table[T]) Find(host string) (T, bool) {
	if value, ok := t.exact[host]; ok {
		return value, true
	}
	rest := host
	for len(t.wildcard) > 0 {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		if value, ok := t.wildcard[after]; ok {
			return value, true
		}
		rest = after
	}
	return t.fallback, t.hasAny
}

// Empty tells that nothing was added.
func (t *Table[T]) Empty() bool {
	return len(t.exact) == 0 && len(t.wildcard) == 0 && !t.hasAny
}
