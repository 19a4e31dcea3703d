package web

import (
	"fmt"
	"strings"
)

// Routes finds what a path means, by the longest prefix of whole segments:
// "/admin" takes /admin and /admin/x, and not /administrator. The zero Routes
// finds nothing. Once in use it is not changed.
type Routes[T comparable] struct {
	byPrefix map[string]T // without a slash at the end; "" takes all
	deepest  int          // segments of the longest
}

// Add enters a prefix, which has to be a clean path.
func (r *Routes[T]) Add(prefix string, value T) error {
	if prefix == "" || prefix[0] != '/' {
		return fmt.Errorf("path %q does not begin with \"/\"", prefix)
	}
	for i := range len(prefix) {
		if c := prefix[i]; c <= 0x20 || c >= 0x7f || c == '?' || c == '#' {
			return fmt.Errorf("path %q: %q cannot stand in a path; write it percent-encoded", prefix, prefix[i:i+1])
		}
	}
	clean, _, err := CleanTarget(prefix)
	switch {
	case err != nil:
		return fmt.Errorf("path %q: %w", prefix, err)
	case clean != prefix:
		return fmt.Errorf("path %q is not in its shortest form; write %q", prefix, clean)
	case strings.ContainsAny(prefix, `;\`) || strings.Contains(prefix, "%2F") || strings.Contains(prefix, "%5C") || strings.Contains(prefix, "%3B"):
		return fmt.Errorf("path %q: servers read slashes in escapes, \"\\\" and \";\" in different ways; leave them out", prefix)
	}
	key := strings.TrimSuffix(prefix, "/")
	if _, taken := r.byPrefix[key]; taken {
		return fmt.Errorf("path %q is given twice", prefix)
	}
	if r.byPrefix == nil {
		r.byPrefix = map[string]T{}
	}
	r.byPrefix[key] = value
	r.deepest = max(r.deepest, strings.Count(key, "/"))
	return nil
}

// Empty tells that nothing was added.
func (r *Routes[T]) Empty() bool { return len(r.byPrefix) == 0 }

// Find gives what a clean path means, the zero T where no prefix takes it.
func (r *Routes[T]) Find(path string) (found T) {
	end := 0
	for depth := 0; ; depth++ {
		if value, ok := r.byPrefix[path[:end]]; ok {
			found = value
		}
		if depth == r.deepest || end == len(path) {
			return found
		}
		next := strings.IndexByte(path[end+1:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += 1 + next
		}
	}
}

// Route is Find, unless another server might find another: a path that can be
// read in several ways, one of which another prefix takes, is an error.
func (r *Routes[T]) Route(path string) (T, error) {
	found := r.Find(path)
	err := OtherReadings(path, func(other string) bool { return r.Find(other) == found })
	return found, err
}

// Strip takes a prefix off a clean path that it takes.
func Strip(path, prefix string) string {
	rest := strings.TrimPrefix(path, strings.TrimSuffix(prefix, "/"))
	if rest == "" {
		return "/"
	}
	return rest
}
