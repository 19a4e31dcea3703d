package web

import (
	"errors"
	"fmt"
	"strings"
)

// CleanTarget splits a request's target in origin form and gives its path in
// the one form in which routes are compared and backends get it: escapes of
// letters, digits and "-._~" are undone, other escapes are in upper case
// (RFC 3986 §6.2.2), no segment is empty, "." or "..". The query is as it came,
// with its "?". A path that climbs above the root, or has a NUL or half an
// escape, is an error.
func CleanTarget(target string) (path, query string, err error) {
	path = target
	if i := strings.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if strings.IndexByte(path, '%') < 0 && !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return path, query, nil
	}
	if path, err = normalEscapes(path); err != nil {
		return "", "", err
	}
	path, _, ok := resolve(path)
	if !ok {
		return "", "", errors.New("path climbs above the root")
	}
	return path, query, nil
}

// normalEscapes undoes the escapes that mean nothing, and spells the others
// alike.
func normalEscapes(path string) (string, error) {
	if strings.IndexByte(path, '%') < 0 {
		return path, nil
	}
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c, ok := escaped(path, i)
		switch {
		case !ok && path[i] == '%':
			return "", errors.New("path has a \"%\" without two hex digits")
		case !ok:
			out = append(out, path[i])
			continue
		case c == 0:
			return "", errors.New("path has an escaped NUL")
		case unreserved(c):
			out = append(out, c)
		default:
			const digits = "0123456789ABCDEF"
			out = append(out, '%', digits[c>>4], digits[c&15])
		}
		i += 2
	}
	return string(out), nil
}

// escaped is the byte whose escape begins at path[i].
func escaped(path string, i int) (c byte, ok bool) {
	if path[i] != '%' || i+2 >= len(path) {
		return 0, false
	}
	high, low := hexDigit(path[i+1]), hexDigit(path[i+2])
	return high<<4 | low, high < 16 && low < 16
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// unreserved are the bytes whose escapes mean the same (RFC 3986 §2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// resolve takes empty segments and those of dots away (RFC 3986 §5.2.4). dots
// tells whether there was one of dots, ok that none led above the root.
func resolve(path string) (resolved string, dots, ok bool) {
	out := make([]byte, 0, len(path))
	for rest := path; rest != ""; {
		var segment string
		segment, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		last := rest == ""
		switch segment {
		case "":
			continue
		case ".":
			dots = true
		case "..":
			if dots = true; len(out) == 0 {
				return "", true, false
			}
			out = out[:strings.LastIndexByte(string(out), '/')]
		default:
			out = append(append(out, '/'), segment...)
			if last && path[len(path)-1] != '/' {
				return string(out), dots, true
			}
		}
	}
	return string(append(out, '/')), dots, true
}

// readings bounds how often escapes are undone, one after the other, to find
// out how a server behind might read a path.
const readings = 3

// OtherReadings tells whether all servers read a clean path as we do, as far
// as same can tell: it is asked whether another reading of it is as good.
// Servers differ about "%2F" and "\" (a slash to some), ";" (what stands
// behind is no part of the name for Java's), "?" and "#" in escapes, and
// escapes of escapes; a path with segments of dots in any of them is no good.
func OtherReadings(path string, same func(path string) bool) error {
	for range readings {
		if !strings.ContainsAny(path, `%\;`) {
			return nil
		}
		other := lenient(path)
		resolved, dots, ok := resolve(other)
		if !ok || dots || !same(resolved) {
			return fmt.Errorf("path that servers read in different ways (%q)", clip(resolved+other))
		}
		if path == other {
			return nil
		}
		path = other
	}
	return nil
}

// lenient reads a path as the most generous server would.
func lenient(path string) string {
	out := make([]byte, 0, len(path))
	param := false // behind a ";", up to the next slash
	for i := 0; i < len(path); i++ {
		c, ok := escaped(path, i)
		if ok {
			i += 2
		} else {
			c = path[i]
		}
		switch {
		case ok && c >= 0x80 && !param: // an escape is the only way to write it
			out = append(out, path[i-2:i+1]...)
		case ok && (c == '?' || c == '#'):
			return string(out)
		case c == '/' || c == '\\':
			param = false
			out = append(out, '/')
		case c == ';':
			param = true
		case !param:
			out = append(out, c)
		}
	}
	return string(out)
}

// clip shortens a stranger's text for an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
