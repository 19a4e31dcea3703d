package config

import "strings"

// A List is one name of [lists]: the entries themselves, or the file or directory that holds them.
type List struct {
	Name    Text
	Entries []Text // prefixes, addresses and ranges
	File    Text   // relative to the configuration file
	Dir     Text
}

func listFields() []field[List] {
	return []field[List]{
		{"file", `"blocked.txt"`, "one entry a line, # for remarks; watched, the last good one is kept",
			func(d *decoder, l *List, v *value) { l.File = d.text(v) }},
		{"dir", `"blocked.d"`, "a directory of such files", func(d *decoder, l *List, v *value) { l.Dir = d.text(v) }},
	}
}

// lists reads [lists], where every key is a name.
func (d *decoder) lists(v *value) []List {
	if d.schema != nil {
		table := d.inner(func() { decode(d, nil, listFields(), new(List)) })
		entries := d.inner(func() { d.texts(v) })
		d.says(schema{Type: "object", Rest: &schema{AnyOf: []*schema{table, entries}}})
		return nil
	}
	if v.kind != inline {
		d.wrong(v)
		return nil
	}
	var all []List
	for _, e := range v.table.entries {
		l := List{Name: Text{e.key, e.pos}}
		if !isListName(e.key) {
			d.mistake(e.pos, "list %s: no rule can say this name; write letters, digits, - and _, and none of the words of rules", quote(e.key))
			continue
		}
		d.key, d.write = e.key, `["192.0.2.0/24"] or { file = "`+e.key+`.txt" }`
		if e.val.kind == inline {
			decode(d, e.val.table, listFields(), &l)
			if l.File.Given() == l.Dir.Given() && len(e.val.table.entries) != 1 {
				d.mistake(e.val.pos, "list %q needs one of file and dir; write %s = { file = %q }", e.key, writeKey([]string{e.key}), e.key+".txt")
			}
		} else {
			l.Entries = d.texts(e.val)
		}
		all = append(all, l)
	}
	return all
}

// isListName reports whether a rule can name a list so, and mean nothing else by it.
func isListName(name string) bool {
	switch name {
	case "all", "ipv4", "ipv6", "allow", "deny", "limit", "conns", "per":
		return false
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return false
	}
	return strings.Trim(name, "0123456789") != ""
}
