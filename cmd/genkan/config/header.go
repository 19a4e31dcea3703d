package config

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"genkan/acl"
)

// header makes the table of a [header] the current one.
func (p *parser) header(keys []*unstable.Node) {
	pos := p.at(max(p.offset(keys[0])-1, 0))
	path := p.path(keys, pos)
	t := p.descend(path, pos)
	if p.current = t; t == nil {
		return
	}
	if t.header {
		p.r.mistake(pos, "%s is written twice, first at %s; put both parts together", t.name, t.pos)
	}
	t.header, t.pos = true, pos
}

// listHeader makes a new table of a [[header]] the current one.
func (p *parser) listHeader(keys []*unstable.Node) {
	p.current = nil
	name := joinKey(keys)
	if len(keys) < 3 || string(keys[0].Data) != "site" || string(keys[len(keys)-1].Data) != "route" {
		p.r.broken(p.at(p.offset(keys[0])), "[[%s]]: no table here is a list; write [%s], and another name for each", name, name)
		return
	}
	pos := p.at(max(p.offset(keys[0])-2, 0))
	path := p.path(keys, pos)
	site := p.descend(path[:len(path)-1], pos)
	if site == nil {
		return
	}
	e := site.get("route")
	if e == nil {
		e = &entry{key: "route", pos: pos, val: &value{kind: array, pos: pos, headers: true}}
		site.add(e)
	}
	if !e.val.headers {
		p.r.broken(pos, "[[%s]]: \"route\" already has a value at %s; write all of it in one place", writeKey(path), e.pos)
		return
	}
	p.current = newTable(pos, "["+writeKey(path)+"]")
	p.current.header = true
	e.val.items = append(e.val.items, &value{kind: inline, pos: pos, table: p.current})
}

// path is the parts of a header. A name whose dots were not quoted is put
// together again, and reported.
func (p *parser) path(keys []*unstable.Node, pos acl.Pos) []string {
	path := make([]string, len(keys))
	for i, k := range keys {
		path[i] = string(k.Data)
	}
	if len(path) < 3 || !named(path[0]) || !isBare(keys[1]) || hasTable(path[0], path[2]) {
		return path
	}
	end := len(path)
	for i := 3; i < end; i++ {
		if hasTable(path[0], path[i]) {
			end = i
		}
	}
	right := append([]string{path[0], strings.Join(path[1:end], ".")}, path[end:]...)
	p.r.mistake(pos, "[%s]: each dot opens another table; write [%s.%q%s]", strings.Join(path, "."), right[0], right[1], behind(path[end:]))
	return right
}

// behind is how the rest of a path is written.
func behind(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return "." + writeKey(path)
}

// descend finds the table of a path, and makes what of it is not there yet;
// nil where something else stands there.
func (p *parser) descend(path []string, pos acl.Pos) *table {
	t := p.root
	for i, key := range path {
		name := "[" + writeKey(path[:i+1]) + "]"
		e := t.get(key)
		if e == nil {
			e = &entry{key: key, pos: pos, val: &value{kind: inline, pos: pos, table: newTable(pos, name)}}
			t.add(e)
		}
		switch {
		case e.val.headers && i < len(path)-1:
			t = e.val.items[len(e.val.items)-1].table // TOML 1.0: of the last [[header]]
			continue
		case e.val.headers:
			p.r.broken(pos, "%s: this is a list of tables since %s; write [%s]", name, e.pos, name)
			return nil
		case e.val.kind != inline || e.val.table.closed:
			p.r.broken(pos, "%s: %q already has a value at %s; write all of it in one place", name, key, e.pos)
			return nil
		}
		t = e.val.table
	}
	return t
}

// named reports whether a table's keys are names of the operator's choice.
func named(table string) bool {
	switch table {
	case "site", "forward", "listener", "pool":
		return true
	}
	return false
}

// hasTable reports whether what stands below [site.NAME] and the like has a
// table of that name.
func hasTable(kind, key string) bool {
	switch kind {
	case "site":
		return slices.Contains(tableKeys(siteFields()), key)
	case "forward":
		return slices.Contains(tableKeys(forwardFields()), key)
	}
	return false
}

// tableKeys are the keys whose values are tables.
func tableKeys[T any](fields []field[T]) []string {
	var keys []string
	for _, f := range fields {
		if strings.HasPrefix(f.write, "{") || strings.HasPrefix(f.write, "[[") {
			keys = append(keys, f.key)
		}
	}
	return keys
}

// isBare reports whether a part of a key was written without quotes.
func isBare(k *unstable.Node) bool {
	return int(k.Raw.Length) == len(k.Data)
}
