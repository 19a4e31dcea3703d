package main

import (
	"strings"
	"testing"
)

// FuzzParseNginx: what is read, written out again, is read the same.
func FuzzParseNginx(f *testing.F) {
	f.Add("http { server { listen 80; server_name \"a b\" 'c'; } } # end\n")
	f.Add("a ${b} c\\;d;")
	f.Add("a { b { } }")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseNginx("f", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("%q: no place in %v", text, err)
			}
			return
		}
		written := writeNginx(all)
		again, err := parseNginx("f", written)
		if err != nil || writeNginx(again) != written {
			t.Fatalf("%q: written as %q, then %q, %v", text, written, writeNginx(again), err)
		}
	})
}

// writeNginx is the slow way back.
func writeNginx(all []directive) string {
	var b strings.Builder
	for _, d := range all {
		for _, word := range append([]string{d.name}, d.args...) {
			b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `" `)
		}
		if d.depth {
			b.WriteString("{ " + writeNginx(d.block) + "} ")
		} else {
			b.WriteString("; ")
		}
	}
	return b.String()
}

// FuzzParseUFW: a rule that is carried over names a port or all of them, and
// an action that access knows.
func FuzzParseUFW(f *testing.F) {
	f.Add("Status: active\nDefault: deny (incoming)\n\nTo Action From\n22/tcp LIMIT IN Anywhere\n80,443/tcp (v6) ALLOW IN 2001:db8::/32\n")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseUFW(text)
		if err != nil {
			return
		}
		for _, l := range u.lines {
			if l.odd == "" && !l.out && !l.any && len(l.ports) == 0 {
				t.Errorf("%q: rule %q has no port", text, l.text)
			}
			if rules := l.rules("all"); len(rules) == 0 {
				t.Errorf("%q: rule %q says nothing", text, l.text)
			}
		}
	})
}
