package main

import (
	"fmt"
	"slices"
	"strings"
)

// A directive is one statement of an nginx configuration.
type directive struct {
	file  string
	line  int
	name  string
	args  []string
	block []directive
	depth bool // it has a block, maybe an empty one
}

// find returns the directives of some names in a block.
func find(block []directive, names ...string) (found []directive) {
	for _, d := range block {
		if slices.Contains(names, d.name) {
			found = append(found, d)
		}
	}
	return found
}

// first returns the first argument of the last directive of a name, "" without one.
func first(block []directive, name string) string {
	all := find(block, name)
	if len(all) == 0 || len(all[len(all)-1].args) == 0 {
		return ""
	}
	return all[len(all)-1].args[0]
}

// A scope is a block with those around it, the innermost first. What a block does not say, nginx takes from the next.
type scope [][]directive

// all returns the directives of some names from the innermost block that has one of them.
func (s scope) all(names ...string) []directive {
	for _, block := range s {
		if found := find(block, names...); len(found) > 0 {
			return found
		}
	}
	return nil
}

// first is first of the innermost block that has the name.
func (s scope) first(name string) string { return first(s.all(name), name) }

// deepest bounds blocks within blocks.
const deepest = 32

// An nginxReader splits text into directives.
type nginxReader struct {
	file string
	text string
	line int
}

// parseNginx reads an nginx configuration. Errors name file and line.
func parseNginx(file, text string) ([]directive, error) {
	r := &nginxReader{file, text, 1}
	all, err := r.block(0)
	return all, err
}

// block reads directives up to the closing brace, or the end where depth is 0.
func (r *nginxReader) block(depth int) (all []directive, err error) {
	if depth > deepest {
		return nil, r.fail("blocks are nested more than %d deep", deepest)
	}
	d := directive{}
	for {
		word, quoted, err := r.word()
		if err != nil {
			return nil, err
		}
		switch {
		case quoted || word != "" && !strings.Contains(";{}", word):
			if d.name == "" {
				d.file, d.line, d.name = r.file, r.line, word
			} else {
				d.args = append(d.args, word)
			}
			continue
		case word == ";" && d.name != "":
			all = append(all, d)
		case word == "{" && d.name != "":
			d.depth = true
			if d.block, err = r.block(depth + 1); err != nil {
				return nil, err
			}
			all = append(all, d)
		case word == "}" && depth > 0 && d.name == "":
			return all, nil
		case word == "" && depth == 0 && d.name == "":
			return all, nil
		case word == "":
			return nil, r.fail("the file ends in the middle of a directive or block")
		default:
			return nil, r.fail("%q is out of place", word)
		}
		d = directive{}
	}
}

// word reads the next word, brace or semicolon; "" is the end.
func (r *nginxReader) word() (word string, quoted bool, err error) {
	r.skip()
	if r.text == "" {
		return "", false, nil
	}
	switch c := r.text[0]; c {
	case ';', '{', '}':
		r.text = r.text[1:]
		return string(c), false, nil
	case '"', '\'':
		return r.quoted(c)
	}
	end := 0
	for end < len(r.text) && !strings.ContainsRune(" \t\r\n;{}", rune(r.text[end])) {
		switch {
		case r.text[end] == '\\' && end+1 < len(r.text):
			end++
		case strings.HasPrefix(r.text[end:], "${"): // a variable
			if n := strings.IndexByte(r.text[end:], '}'); n > 0 {
				end += n
			}
		}
		end++
	}
	word, r.text = r.text[:end], r.text[end:]
	return word, true, nil
}

// skip passes over blanks and remarks.
func (r *nginxReader) skip() {
	for r.text != "" {
		switch r.text[0] {
		case '\n':
			r.line++
		case ' ', '\t', '\r':
		case '#':
			end := strings.IndexByte(r.text, '\n')
			if end < 0 {
				end = len(r.text)
			}
			r.text = r.text[end:]
			continue
		default:
			return
		}
		r.text = r.text[1:]
	}
}

func (r *nginxReader) quoted(by byte) (string, bool, error) {
	var b strings.Builder
	for i := 1; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == by:
			r.line += strings.Count(r.text[:i], "\n")
			r.text = r.text[i+1:]
			return b.String(), true, nil
		case c == '\\' && i+1 < len(r.text) && (r.text[i+1] == by || r.text[i+1] == '\\'):
			i++
			b.WriteByte(r.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false, r.fail("a quoted string has no end")
}

func (r *nginxReader) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.file, r.line, fmt.Sprintf(format, args...))
}
