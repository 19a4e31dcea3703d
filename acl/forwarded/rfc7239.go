package forwarded

import (
	"strings"
	"time"
)

// noTime asks a list about now.
var noTime time.Time

// splitForwarded reads one line of RFC 7239 §4: elements between commas, each
// of name=value pairs between semicolons, each value a token or a
// quoted-string. It returns the value of each element's "for", "" where there
// is none.
//
// whole is false where the line breaks the grammar. An attacker could write an
// open quote so that what our proxies append behind it is taken for text and
// the client for one of the proxies; so the right end is still read, element
// by element, as far as it stands without the rest.
func splitForwarded(line string) (elements []string, whole bool) {
	if elements, ok := parseElements(line); ok {
		return elements, true
	}
	for {
		i := strings.LastIndexByte(line, ',')
		last, ok := parseElements(line[i+1:])
		if !ok || i < 0 {
			return elements, false
		}
		elements = append(last, elements...)
		line = line[:i]
		if len(elements) > MaxElements {
			return elements, false
		}
	}
}

// parseElements reads elements up to the end of the text.
func parseElements(text string) (elements []string, ok bool) {
	p := parser{rest: text}
	for {
		value, ok := p.element()
		if !ok {
			return nil, false
		}
		elements = append(elements, value)
		if p.rest == "" {
			return elements, true
		}
		if !p.take(',') {
			return nil, false
		}
	}
}

// A parser holds what is still to be read of a line.
type parser struct{ rest string }

// element reads pairs up to a comma or the end, and returns the one "for".
func (p *parser) element() (value string, ok bool) {
	found := false
	for {
		p.space()
		if p.rest == "" || p.rest[0] == ',' {
			return value, true
		}
		if !p.take(';') {
			name, v, ok := p.pair()
			if !ok {
				return "", false
			}
			if strings.EqualFold(name, "for") {
				if found { // §4: each parameter at most once an element
					return "", false
				}
				value, found = v, true
			}
			p.space()
			if p.rest != "" && p.rest[0] != ',' && p.rest[0] != ';' {
				return "", false
			}
		}
	}
}

// pair reads token "=" ( token / quoted-string ).
func (p *parser) pair() (name, value string, ok bool) {
	if name, ok = p.token(); !ok || !p.take('=') {
		return "", "", false
	}
	if p.take('"') {
		value, ok = p.quoted()
		return name, value, ok
	}
	value, ok = p.token()
	return name, value, ok
}

// token reads RFC 9110 §5.6.2.
func (p *parser) token() (string, bool) {
	i := 0
	for i < len(p.rest) && isTokenByte(p.rest[i]) {
		i++
	}
	token := p.rest[:i]
	p.rest = p.rest[i:]
	return token, i > 0
}

func isTokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// quoted reads RFC 9110 §5.6.4 behind its opening quote, and undoes it.
func (p *parser) quoted() (string, bool) {
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			c = p.rest[i]
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

// take reads one byte if it is c.
func (p *parser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// space skips optional white space. RFC 7239 allows it around commas only;
// around semicolons it is common, and hides nothing.
func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t") }
