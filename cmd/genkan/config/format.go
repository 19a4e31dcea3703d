package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Format writes a configuration as "genkan fmt" does: one blank line between tables, a space around each =, the = of
// neighbouring keys in one column, lists indented by two, names quoted where they must be. Comments and values stay
// as they are, but for the ends of lines, which become those of Unix. What cannot be read is returned as Mistakes.
func Format(file string, src []byte) ([]byte, error) {
	r := newReport()
	r.begin(file)
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n")) // in strings of several lines, too
	before := parse(r, file, src)
	if err := r.err(); err != nil {
		return nil, err
	}
	f := &formatter{src: bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))}
	out, err := f.format()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	after := parse(r, file, out)
	if r.err() != nil || !same(before, after) {
		return nil, fmt.Errorf("%s: cannot be formatted without a change of meaning; it stays as it is", file)
	}
	return out, nil
}

// A formatter goes through a text expression by expression.
type formatter struct {
	src  []byte
	out  bytes.Buffer
	keys []keyLine // neighbours, of which the = are to stand in one column
}

// A keyLine is `key = value # comment`.
type keyLine struct{ key, rest string }

func (f *formatter) format() ([]byte, error) {
	p := unstable.Parser{KeepComments: true}
	p.Reset(f.src)
	at := 0 // up to here all is written
	for p.NextExpression() {
		n := p.Expression()
		begin := f.begin(&p, n)
		f.gap(f.src[at:begin])
		end := f.lineEnd(f.end(&p, n))
		f.expression(n, string(f.src[begin:end]))
		at = end
	}
	f.flush()
	if err := p.Error(); err != nil {
		return nil, errors.New("cannot be read again")
	}
	out := bytes.TrimSpace(f.out.Bytes())
	if len(out) == 0 {
		return nil, nil
	}
	return append(out, '\n'), nil
}

// begin is where an expression's first byte stands.
func (f *formatter) begin(p *unstable.Parser, n *unstable.Node) int {
	if n.Kind == unstable.KeyValue || n.Kind == unstable.Comment {
		return int(n.Raw.Offset)
	}
	it := n.Key()
	it.Next()
	at := bytes.LastIndexByte(f.src[:it.Node().Raw.Offset], '[')
	if n.Kind == unstable.ArrayTable {
		at--
	}
	return at
}

// end is behind an expression, its comment on the same line not counted.
func (f *formatter) end(p *unstable.Parser, n *unstable.Node) int {
	if n.Kind == unstable.KeyValue || n.Kind == unstable.Comment {
		return int(n.Raw.Offset) + int(n.Raw.Length)
	}
	last := 0
	for it := n.Key(); it.Next(); {
		last = int(it.Node().Raw.Offset) + int(it.Node().Raw.Length)
	}
	return last
}

// lineEnd is the end of the line that an offset stands in.
func (f *formatter) lineEnd(offset int) int {
	if i := bytes.IndexByte(f.src[offset:], '\n'); i >= 0 {
		return offset + i
	}
	return len(f.src)
}

// gap writes what stands between two expressions: at most one blank line of many.
func (f *formatter) gap(between []byte) {
	if bytes.Count(between, []byte("\n")) > 1 {
		f.flush()
		if f.out.Len() > 0 && !bytes.HasSuffix(f.out.Bytes(), []byte("\n\n")) {
			f.out.WriteByte('\n')
		}
	}
}

// expression writes one comment, header or key with what follows on its last line.
func (f *formatter) expression(n *unstable.Node, text string) {
	text = strings.TrimRight(text, " \t")
	switch n.Kind {
	case unstable.Comment:
		f.flush()
		f.out.WriteString(text + "\n")
	case unstable.KeyValue:
		var keys []*unstable.Node
		for it := n.Key(); it.Next(); {
			keys = append(keys, it.Node())
		}
		last := keys[len(keys)-1]
		after := int(last.Raw.Offset) + int(last.Raw.Length) - int(n.Raw.Offset)
		value := strings.TrimLeft(strings.TrimLeft(text[after:], " \t")[1:], " \t")
		if !strings.Contains(value, `"""`) && !strings.Contains(value, "'''") {
			value = indent(value)
		}
		f.keys = append(f.keys, keyLine{joinKey(keys), value})
	default:
		f.flush()
		f.header(n, text)
	}
}

// header writes a [header], below one blank line unless a comment of its own stands on top of it.
func (f *formatter) header(n *unstable.Node, text string) {
	var keys []*unstable.Node
	for it := n.Key(); it.Next(); {
		keys = append(keys, it.Node())
	}
	written := f.out.Bytes()
	above := written[bytes.LastIndexByte(bytes.TrimRight(written, "\n"), '\n')+1:]
	if len(written) > 0 && !bytes.HasSuffix(written, []byte("\n\n")) && !bytes.HasPrefix(above, []byte("#")) {
		f.out.WriteByte('\n')
	}
	line := "[" + joinKey(keys) + "]"
	if n.Kind == unstable.ArrayTable {
		line = "[" + line + "]"
	}
	if _, comment, ok := strings.Cut(text[strings.LastIndexByte(text[:commentAt(text)], ']'):], "#"); ok {
		line += " # " + strings.TrimSpace(comment)
	}
	f.out.WriteString(line + "\n")
}

// commentAt is where the comment of a header begins, its length where there is none.
func commentAt(text string) int {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == '#':
			return i
		}
	}
	return len(text)
}

// indent moves the lines of a list that is written over several.
func indent(value string) string {
	lines := strings.Split(value, "\n")
	for i := 1; i < len(lines); i++ {
		lines[i] = strings.TrimSpace(lines[i])
		if lines[i] != "" && !strings.HasPrefix(lines[i], "]") && !strings.HasPrefix(lines[i], "}") {
			lines[i] = "  " + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// flush writes the keys that are neighbours. A value over several lines stands apart.
func (f *formatter) flush() {
	for len(f.keys) > 0 {
		n, width := 0, 0
		for n < len(f.keys) && (n == 0 || !strings.Contains(f.keys[n].rest, "\n")) {
			width = max(width, len(f.keys[n].key))
			if n++; strings.Contains(f.keys[n-1].rest, "\n") {
				break
			}
		}
		for _, k := range f.keys[:n] {
			fmt.Fprintf(&f.out, "%-*s = %s\n", width, k.key, k.rest)
		}
		f.keys = f.keys[n:]
	}
}

// same reports whether two trees say the same.
func same(a, b *table) bool {
	if len(a.entries) != len(b.entries) {
		return false
	}
	for i, e := range a.entries {
		if o := b.entries[i]; e.key != o.key || !sameValue(e.val, o.val) {
			return false
		}
	}
	return true
}

func sameValue(a, b *value) bool {
	if a.kind != b.kind || a.text != b.text || len(a.items) != len(b.items) || a.kind != text && a.kind != inline && a.raw != b.raw {
		return false
	}
	for i := range a.items {
		if !sameValue(a.items[i], b.items[i]) {
			return false
		}
	}
	return a.kind != inline || same(a.table, b.table)
}
