package web

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A Redirect is where clients are sent: an absolute URL or a path, in which
// "{host}" stands for the name in Host, without port, and "{path}" for path
// and query. The zero Redirect sends to "".
type Redirect struct{ parts []string } // what is in braces stands apart

// Empty tells that r is the zero Redirect.
func (r Redirect) Empty() bool { return len(r.parts) == 0 }

// NeedsHost tells that a request without Host cannot be redirected.
func (r Redirect) NeedsHost() bool { return slices.Contains(r.parts, "{host}") }

// ParseRedirect reads a template and makes sure that, whatever clients send,
// it never leads to another host than it says.
func ParseRedirect(template string) (Redirect, error) {
	bad := func(format string, args ...any) (Redirect, error) {
		return Redirect{}, fmt.Errorf("redirect %q: "+format, append([]any{template}, args...)...)
	}
	for i := range len(template) {
		if c := template[i]; c <= 0x20 || c >= 0x7f {
			return bad("%q cannot stand in a URL; write it percent-encoded", template[i:i+1])
		}
	}
	var r Redirect
	for rest := template; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		if before != "" {
			r.parts = append(r.parts, before)
		}
		if !found {
			break
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed || name != "host" && name != "path" {
			return bad("what stands in braces is {host} or {path}")
		}
		r.parts = append(r.parts, "{"+name+"}")
		rest = behind
	}
	if err := checkRedirect(template); err != nil {
		return bad("%w", err)
	}
	return r, nil
}

// checkRedirect tries a template out with a host and a path.
func checkRedirect(template string) error {
	const host, path = "host.invalid", "/path"
	if i := strings.Index(template, "{path}"); i > 0 && template[i-1] == '/' {
		return fmt.Errorf("{path} begins with a slash itself; leave out the one before it")
	}
	got := Redirect{[]string{strings.NewReplacer("{host}", host, "{path}", path).Replace(template)}}.To("", "")
	u, err := url.Parse(got)
	switch {
	case err != nil:
		return fmt.Errorf("no URL; write \"https://www.example.jp{path}\"")
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(got, "/"):
		return nil
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
		return fmt.Errorf("write where to with http:// or https://, as \"https://www.example.jp{path}\", or a path of this site")
	case u.Hostname() != host && strings.Contains(u.Host, host):
		return fmt.Errorf("{host} is a part of a name, which leads to other hosts; write it alone behind //")
	}
	return nil
}

// To fills the template in. path is a clean path with query.
func (r Redirect) To(host, path string) string {
	var b strings.Builder
	for _, part := range r.parts {
		switch part {
		case "{host}":
			b.WriteString(host)
		case "{path}":
			escapeTo(&b, path)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

// escapeTo writes path with the bytes escaped that a URL may not have, though
// requests do: "/\evil.test" would be another host to browsers.
func escapeTo(b *strings.Builder, path string) {
	for i := range len(path) {
		if c := path[i]; strings.IndexByte("\\\"<>^`{|}", c) >= 0 {
			fmt.Fprintf(b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
}
