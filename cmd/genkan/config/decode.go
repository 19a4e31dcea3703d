package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"genkan/acl"
)

// A Text is a string that the operator wrote, with its place. The zero Text was not written.
type Text struct {
	S   string
	Pos acl.Pos
}

// Given reports whether the text was written at all.
func (t Text) Given() bool { return t.Pos != (acl.Pos{}) }

// A field is one key of a table: what it is called, what to write behind it, what it does, and where it goes.
// The list of a table's fields is all that decoding, "genkan help config" and the JSON Schema know of it.
type field[T any] struct {
	key   string
	write string // an example, as the operator would write it
	doc   string
	set   func(d *decoder, into *T, v *value)
}

// A decoder reads values into structs and collects what does not fit.
type decoder struct {
	*report
	key   string   // the key being read, for errors
	write string   // its example
	top   []string // the keys of the main file; nil: an included one is read

	partial []string // those that an included one may have

	schema *schema // what values may be goes here, and none is read
}

// decode reads a table into a struct, key by key.
func decode[T any](d *decoder, t *table, fields []field[T], into *T) {
	if d.schema != nil {
		describe(d, fields, into)
		return
	}
	for _, e := range t.entries {
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.key == e.key })
		if i < 0 {
			near := d.unknown(t, e, keysOf(fields))
			if t.get(near) != nil {
				continue
			}
			// What it is meant for is read all the same: else the key would be missing, too.
			if i = slices.IndexFunc(fields, func(f field[T]) bool { return f.key == near }); i < 0 {
				continue
			}
		}
		d.key, d.write = e.key, fields[i].write
		fields[i].set(d, into, e.val)
	}
}

// unknown reports a key that a table does not have, with the likeliest cause, and returns the key that was meant.
func (d *decoder) unknown(t *table, e *entry, keys []string) string {
	near := DidYouMean(e.key, keys)
	switch {
	case slices.Contains(d.top, e.key) && t.name != "" && e.val.kind != inline:
		d.mistake(e.pos, "%q stands in %s, as every key below that header does; move it above the first [header] of the file", e.key, t.name)
		return ""
	case near != "" && t.name == "" && e.val.kind == inline:
		d.mistake(e.pos, "unknown table [%s]; did you mean [%s]?", cut(writeKey([]string{e.key})), near)
		return near
	case near != "":
		d.mistake(e.pos, "unknown key %s in %s; did you mean %q?", quote(e.key), t.called(), near)
		return near
	}
	d.mistake(e.pos, "unknown key %s in %s; its keys are %s", quote(e.key), t.called(), strings.Join(keys, ", "))
	return ""
}

// wrong reports a value of the wrong kind.
func (d *decoder) wrong(v *value) {
	switch {
	case v.kind == invalid: // it has been reported already
	case strings.HasPrefix(d.write, "["+d.key), strings.HasPrefix(d.write, "[["): // a table
		d.mistake(v.pos, "%s: found %s; write the header %s, and its keys below", d.key, v.found(), d.write)
	default:
		d.mistake(v.pos, "%s: found %s; write %s = %s", d.key, v.found(), d.key, d.write)
	}
}

// text reads one string; empty ones are refused.
func (d *decoder) text(v *value) Text {
	if d.schema != nil && d.says(stringSchema()) {
		return Text{}
	}
	if v.kind != text {
		d.wrong(v)
		return Text{}
	}
	if v.text == "" {
		d.mistake(v.pos, "%s: the string is empty; write %s = %s", d.key, d.key, d.write)
		return Text{}
	}
	return Text{v.text, v.pos}
}

// texts reads a string or a list of strings. A list that was written is never nil.
func (d *decoder) texts(v *value) []Text {
	if d.schema != nil && d.says(stringOrListSchema()) {
		return nil
	}
	if v.kind != array {
		if t := d.text(v); t.Given() {
			return []Text{t}
		}
		return nil
	}
	return d.list(v)
}

// list reads a list of strings.
func (d *decoder) list(v *value) []Text {
	if d.schema != nil && d.says(stringsSchema()) {
		return nil
	}
	if v.kind != array {
		d.wrong(v)
		return nil
	}
	all := make([]Text, 0, len(v.items))
	for _, item := range v.items {
		if t := d.text(item); t.Given() {
			all = append(all, t)
		}
	}
	return all
}

// boolean reads true or false.
func (d *decoder) boolean(v *value) bool {
	if d.says(schema{Type: "boolean"}) {
		return false
	}
	if v.kind != boolean {
		d.wrong(v)
		return false
	}
	return v.raw == "true"
}

// number reads a whole number from low to high.
func (d *decoder) number(v *value, low, high int64) int {
	if d.says(schema{Type: "integer", Minimum: &low, Maximum: &high}) {
		return 0
	}
	if v.kind != integer {
		d.wrong(v)
		return 0
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(v.raw, "_", ""), 0, 64)
	if err != nil || n < low || n > high {
		d.mistake(v.pos, "%s: %s is outside %d–%d; write a number in between", d.key, cut(v.raw), low, high)
		return 0
	}
	return int(n)
}

// choice reads one of some words.
func (d *decoder) choice(v *value, words ...string) string {
	if d.says(schema{Type: "string", Enum: words}) {
		return ""
	}
	t := d.text(v)
	if !t.Given() || slices.Contains(words, t.S) {
		return t.S
	}
	if near := DidYouMean(t.S, words); near != "" {
		d.mistake(v.pos, "%s: unknown value %s; did you mean %q?", d.key, quote(t.S), near)
	} else {
		d.mistake(v.pos, "%s: unknown value %s; write %s", d.key, quote(t.S), oneOf(words))
	}
	return ""
}

// longest bounds every duration: what lasts longer is a slip of the pen.
const longest = 366 * 24 * time.Hour

// duration reads a time such as "90s", "10m", "24h" or "7d", more than nothing.
func (d *decoder) duration(v *value) time.Duration {
	if d.says(schema{Type: "string", Pattern: `^[0-9.]+[a-zµ]`}) {
		return 0
	}
	if v.kind == integer {
		d.mistake(v.pos, "%s: found the number %s; write the unit too: %s = \"%ss\"", d.key, cut(v.raw), d.key, cut(v.raw))
		return 0
	}
	t := d.text(v)
	if !t.Given() {
		return 0
	}
	span, err := acl.ParseDuration(t.S)
	switch {
	case err != nil:
		d.mistake(v.pos, "%s: %s is no duration; write a number with s, m, h or d, such as %s", d.key, quote(t.S), d.write)
	case span <= 0 || span > longest:
		d.mistake(v.pos, "%s: %s is outside of what is possible; write more than nothing and at most \"366d\"", d.key, quote(t.S))
	default:
		return span
	}
	return 0
}

// sub reads a table or { } behind a key.
func sub[T any](d *decoder, v *value, fields []field[T], into *T) bool {
	if d.schema != nil {
		describe(d, fields, into)
		return false
	}
	if v.kind != inline {
		d.wrong(v)
		return false
	}
	decode(d, v.table, fields, into)
	return true
}

// tables reads what stands below a header whose keys are names: [site."NAME"].
func tables[T any](d *decoder, v *value, each func(name Text, t *table) T) []T {
	if d.schema != nil {
		d.says(schema{Type: "object", Rest: d.inner(func() { each(Text{}, nil) })})
		return nil
	}
	if v.kind != inline {
		d.wrong(v)
		return nil
	}
	var all []T
	for _, e := range v.table.entries {
		if e.val.kind != inline {
			d.mistake(e.pos, "%q stands directly in %s, which holds names; write the header %s.\"NAME\"] above it", e.key, v.table.name, strings.TrimSuffix(v.table.name, "]"))
			continue
		}
		if e.key == "" {
			d.mistake(e.pos, "%s: the name is empty; write one", e.val.table.name)
			continue
		}
		all = append(all, each(Text{e.key, e.pos}, e.val.table))
	}
	return all
}
