package config

import "genkan/acl"

// A kind is what sort of thing stands on the right of a "=".
type kind int

const (
	invalid kind = iota // zero: nothing was written
	text
	integer
	float
	boolean
	date
	array
	inline
)

// A value is one TOML value with its place. The zero value is invalid.
type value struct {
	kind  kind
	pos   acl.Pos
	raw   string   // as written, for scalars but text
	text  string   // decoded, for kind text
	items []*value // for kind array
	table *table   // for kind inline, and for every [header]

	headers bool // an array whose items were written as [[header]]
}

// An entry is one key of a table.
type entry struct {
	key string
	pos acl.Pos // of the key
	val *value
}

// A table is a [header], an inline { } or the file itself, with its keys in the order of the file.
type table struct {
	pos     acl.Pos // of the header or the opening brace; of the first deeper header where none is written
	name    string  // "[site.\"www.example.jp\"]"; "" for the file
	header  bool    // the header itself was written, not only implied by a deeper one
	closed  bool    // made by { } or by a dotted key: no header may add to it
	entries []*entry
	index   map[string]*entry // of tables that are large; nil: they are looked through
}

func newTable(pos acl.Pos, name string) *table {
	return &table{pos: pos, name: name}
}

// large is how many keys a table has when an index finds them faster.
const large = 16

// get returns the entry of a key, nil where there is none.
func (t *table) get(key string) *entry {
	if t == nil {
		return nil
	}
	if t.index != nil {
		return t.index[key]
	}
	for _, e := range t.entries {
		if e.key == key {
			return e
		}
	}
	return nil
}

func (t *table) add(e *entry) {
	t.entries = append(t.entries, e)
	if t.index == nil && len(t.entries) > large {
		t.index = make(map[string]*entry, 2*large)
		for _, e := range t.entries {
			t.index[e.key] = e
		}
	}
	if t.index != nil {
		t.index[e.key] = e
	}
}

// found says what was written, for the second half of a type error.
func (v *value) found() string {
	switch v.kind {
	case text:
		return "the string " + quote(v.text)
	case integer, float:
		return "the number " + cut(v.raw)
	case boolean:
		return v.raw
	case date:
		return "the date " + cut(v.raw)
	case array:
		return "a list"
	case inline:
		return "a table"
	}
	return "nothing"
}
