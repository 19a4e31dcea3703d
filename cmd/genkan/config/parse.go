package config

import (
	"bytes"
	"errors"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"genkan/acl"
)

// deepest bounds how far lists and tables may stand inside each other; no key of ours needs more than three.
const deepest = 16

// A parser turns the text of one file into a tree of values with places. It does not stop at the first
// mistake: what cannot be read is reported and skipped up to the next line that looks like a key or a header.
type parser struct {
	r     *report
	file  string
	src   []byte
	lines []int // the offset at which each line begins

	toml    *unstable.Parser // the report's: its memory serves the next file, too
	base    int              // where in src the text that toml reads begins
	end     int              // where in src the last good expression ended
	root    *table           // the file
	current *table           // what keys go into; nil after a broken header: its keys are skipped
}

// parse reads one file into a tree and reports what is wrong with its form.
func parse(r *report, file string, src []byte) *table {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	p := &parser{r: r, file: file, src: src, toml: r.toml, lines: make([]int, 1, bytes.Count(src, []byte("\n"))+1)}
	for i, c := range src {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	p.root = newTable(p.at(0), "")
	p.root.header = true
	p.current = p.root
	p.toml.Reset(src)
	for {
		for p.toml.NextExpression() {
			p.take(p.toml.Expression())
		}
		var bad *unstable.ParserError
		if !errors.As(p.toml.Error(), &bad) {
			return p.root
		}
		if !p.recover(bad) {
			return p.root
		}
	}
}

// at gives the place of an offset. Columns count bytes from 1, as compilers do.
func (p *parser) at(offset int) acl.Pos {
	line := sort.SearchInts(p.lines, offset+1)
	return acl.Pos{File: p.file, Line: line, Col: offset - p.lines[line-1] + 1}
}

// offset is where in the file a node's raw text begins.
func (p *parser) offset(n *unstable.Node) int { return p.base + int(n.Raw.Offset) }

// recover reports a mistake of form and finds the line where reading goes on; false at the end of the file.
func (p *parser) recover(bad *unstable.ParserError) bool {
	wrong := p.base + int(p.toml.Range(bad.Highlight).Offset)
	start := p.next(p.end)
	if start > wrong {
		start = p.lines[p.at(wrong).Line-1]
	}
	offset, msg := p.explain(start, wrong, bad.Message)
	p.r.broken(p.at(offset), "%s", msg)
	if isHeaderElsewhere(p.line(start)) {
		p.current = nil
	}
	single := endsWithLine(p.line(start))
	for n := p.at(start).Line; n < len(p.lines); n++ {
		if single || looksLikeExpression(p.line(p.lines[n])) {
			p.base, p.end = p.lines[n], p.lines[n]
			p.toml.Reset(p.src[p.base:])
			return true
		}
	}
	return false
}

// next is where the first line begins that is neither empty nor a comment, from the line of an offset on.
func (p *parser) next(offset int) int {
	n := p.at(offset).Line - 1
	if strings.Trim(string(p.src[p.lines[n]:offset]), " \t") != "" {
		n++ // the rest of that line belongs to a good expression
	}
	for ; n < len(p.lines); n++ {
		if line := p.line(p.lines[n]); line != "" && line[0] != '#' {
			return p.lines[n] + bytes.Index(p.src[p.lines[n]:], []byte(line))
		}
	}
	return len(p.src)
}

// line is the text of the line that an offset stands in, without the white space of TOML around it.
func (p *parser) line(offset int) string {
	if offset >= len(p.src) {
		return ""
	}
	rest := p.src[p.lines[p.at(offset).Line-1]:]
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[:i]
	}
	return strings.Trim(string(rest), " \t\r")
}

// endsWithLine reports whether a mistake in a line cannot reach into the next: it opens no list, table or long string.
func endsWithLine(line string) bool {
	_, value, ok := strings.Cut(line, "=")
	value = strings.TrimLeft(value, " \t")
	return !ok && !strings.HasPrefix(line, "[") || ok && value != "" && !strings.ContainsAny(value[:1], "[{") &&
		!strings.HasPrefix(value, `"""`) && !strings.HasPrefix(value, "'''")
}

// isHeaderElsewhere reports whether a line that cannot be read opens a table: as a broken header, one behind bytes that
// are no text, or in the ways of YAML, JSON and nginx. What follows belongs to that, and not to the table before.
func isHeaderElsewhere(line string) bool {
	if i := strings.IndexByte(line, '['); i >= 0 && strings.IndexFunc(line[:i], func(r rune) bool { return r > ' ' && r < 0x7f }) < 0 {
		return true
	}
	return strings.HasSuffix(line, "{") && !strings.Contains(line, "=") || strings.HasSuffix(line, ":")
}

// looksLikeExpression reports whether a line can begin a header or a key.
func looksLikeExpression(line string) bool {
	if strings.HasPrefix(line, "[") {
		return strings.HasSuffix(strings.TrimSpace(strings.SplitN(line, "#", 2)[0]), "]")
	}
	key, _, ok := strings.Cut(line, "=")
	key = strings.TrimSpace(key)
	return ok && key != "" && !strings.ContainsAny(key, " \t,:[{#")
}

// take puts one expression into the tree.
func (p *parser) take(n *unstable.Node) {
	var keys []*unstable.Node
	for it := n.Key(); it.Next(); {
		keys = append(keys, it.Node())
	}
	last := keys[len(keys)-1]
	p.end = p.offset(last) + int(last.Raw.Length)
	if len(keys) > deepest { // each part is named with all before it: the square of them is seconds soon
		p.r.broken(p.at(p.offset(keys[0])), "a name of %d parts: tables stand more than %d deep in each other; no key here needs that", len(keys), deepest)
		if n.Kind != unstable.KeyValue {
			p.current = nil
		}
		return
	}
	switch n.Kind {
	case unstable.KeyValue:
		p.end = p.offset(n) + int(n.Raw.Length)
		if p.current != nil {
			p.keyValue(p.current, n, keys, 0)
		}
	case unstable.Table:
		p.header(keys)
	case unstable.ArrayTable:
		p.listHeader(keys)
	}
}

// keyValue puts one `key = value` into a table, through the tables that a dotted key names.
func (p *parser) keyValue(t *table, n *unstable.Node, keys []*unstable.Node, depth int) {
	for _, k := range keys[:len(keys)-1] {
		key, pos := string(k.Data), p.at(p.offset(k))
		e := t.get(key)
		if e == nil {
			sub := newTable(pos, t.child(key))
			sub.header, sub.closed = true, true
			e = &entry{key: key, pos: pos, val: &value{kind: inline, pos: pos, table: sub}}
			t.add(e)
		}
		if e.val.kind != inline {
			p.r.mistake(pos, "%q already has a value at %s; write it once", key, e.pos)
			return
		}
		t = e.val.table
	}
	last := keys[len(keys)-1]
	key, pos := string(last.Data), p.at(p.offset(last))
	if e := t.get(key); e != nil {
		p.r.mistake(pos, "%q is written twice in %s, first at %s; keep one", key, t.called(), e.pos)
		return
	}
	after := p.offset(last) + int(last.Raw.Length)
	after += len(p.src[after:]) - len(bytes.TrimLeft(p.src[after:], " \t="))
	t.add(&entry{key: key, pos: pos, val: p.value(n.Value(), after, t.child(key), depth)})
}

// value copies one value out of the parser's memory. offset is where it begins, for those kinds that do not say so themselves.
func (p *parser) value(n *unstable.Node, offset int, name string, depth int) *value {
	if n.Raw.Length > 0 {
		offset = p.offset(n)
	}
	v := &value{pos: p.at(offset)}
	if depth == deepest {
		p.r.mistake(v.pos, "lists and tables stand more than %d deep in each other; no key here needs that", deepest)
		return v
	}
	switch n.Kind {
	case unstable.String, unstable.Array, unstable.InlineTable:
	default:
		v.raw = string(p.toml.Raw(n.Raw))
	}
	switch n.Kind {
	case unstable.String:
		v.kind, v.text = text, string(n.Data)
	case unstable.Integer:
		v.kind = integer
	case unstable.Float:
		v.kind = float
	case unstable.Bool:
		v.kind = boolean
	case unstable.Array:
		v.kind = array
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, p.value(it.Node(), offset, name, depth+1))
		}
	case unstable.InlineTable:
		v.kind, v.table = inline, newTable(v.pos, name)
		v.table.header, v.table.closed = true, true
		for it := n.Children(); it.Next(); {
			var keys []*unstable.Node
			for kit := it.Node().Key(); kit.Next(); {
				keys = append(keys, kit.Node())
			}
			p.keyValue(v.table, it.Node(), keys, depth+1)
		}
	default:
		v.kind = date
	}
	return v
}

// child names a key of a table as a header would.
func (t *table) child(key string) string {
	path := writeKey([]string{key})
	if t.name == "" {
		return "[" + path + "]"
	}
	return strings.TrimSuffix(t.name, "]") + "." + path + "]"
}

// called is how an error names a table.
func (t *table) called() string {
	if t.name == "" {
		return "the top level"
	}
	return t.name
}

// writeKey spells a dotted key, with quotes where TOML needs them.
func writeKey(path []string) string {
	parts := make([]string, len(path))
	for i, key := range path {
		parts[i] = key
		if key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			parts[i] = strconv.Quote(key)
		}
	}
	return strings.Join(parts, ".")
}

func joinKey(keys []*unstable.Node) string {
	path := make([]string, len(keys))
	for i, k := range keys {
		path[i] = string(k.Data)
	}
	return writeKey(path)
}
