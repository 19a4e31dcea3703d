package message

import "fmt"

// ParseLength reads the value of a Content-Length field: digits only
// (RFC 9110 §8.6), at most 19 of them, no sign, no list, no overflow.
func ParseLength(s string) (int64, error) {
	if s == "" || len(s) > 19 {
		return 0, fmt.Errorf("Content-Length %q: want 1 to 19 digits", clip(s))
	}
	var n int64
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, fmt.Errorf("Content-Length %q: want digits only", clip(s))
		}
		if n > (1<<63-1-int64(d))/10 {
			return 0, fmt.Errorf("Content-Length %q: more than 2^63-1", clip(s))
		}
		n = n*10 + int64(d)
	}
	return n, nil
}

// clip shortens a stranger's text for an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
