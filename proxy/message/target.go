package message

import (
	"fmt"
	"strings"
)

// CheckPath reports why s is not the path and query of a request in origin
// form (RFC 9112 §3.2.1, RFC 9113 §8.3.1), or nil. Bytes that browsers send
// raw although RFC 3986 asks to encode them (| ^ " { }) pass: they are the
// same bytes on both sides. A fragment, space, control or 8-bit byte and a
// broken percent-encoding in the path do not.
func CheckPath(s string) error {
	if s == "" || s[0] != '/' {
		return fmt.Errorf("target %q: want a path that begins with \"/\"", clip(s))
	}
	query := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= 0x20 || c >= 0x7f || c == '#':
			return fmt.Errorf("target %q: byte %q: want it percent-encoded", clip(s), s[i:i+1])
		case c == '?':
			query = true
		case c == '%' && !query && !(i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])):
			return fmt.Errorf("target %q: \"%%\" without two hex digits", clip(s))
		}
	}
	return nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'f'
}

// SplitAbsolute reads a target in absolute form (RFC 9112 §3.2.2), http and
// https only. The path is "" where the target has neither path nor query.
func SplitAbsolute(s string) (authority, path string, err error) {
	var rest string
	switch {
	case len(s) >= 7 && EqualFold(s[:7], "http://"):
		rest = s[7:]
	case len(s) >= 8 && EqualFold(s[:8], "https://"):
		rest = s[8:]
	default:
		return "", "", fmt.Errorf("target %q: want a path, or http:// or https://", clip(s))
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, path = rest[:end], rest[end:]
	if authority == "" {
		return "", "", fmt.Errorf("target %q: no host", clip(s))
	}
	if strings.HasPrefix(path, "?") {
		path = "/" + path
	}
	return authority, path, nil
}
