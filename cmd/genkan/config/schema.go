package config

import (
	"bytes"
	"encoding/json"
	"slices"
)

// A schema is a JSON Schema (draft 7): what one value may be. It is asked of the functions that read values, so
// that it cannot say anything else than they do.
type schema struct {
	Draft       string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Minimum     *int64             `json:"minimum,omitempty"`
	Maximum     *int64             `json:"maximum,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Rest        any                `json:"additionalProperties,omitempty"` // *schema, or false
	AnyOf       []*schema          `json:"anyOf,omitempty"`

	write string // the key's example
}

// Schema returns the JSON Schema (draft 7) of a configuration file, for editors. It holds what one value may be; what
// values mean together, check tells.
func Schema() ([]byte, error) {
	top := schema{Draft: "http://json-schema.org/draft-07/schema#", Title: "Genkan's configuration, genkan.toml"}
	decode(&decoder{schema: &top}, nil, fields(), new(Config))
	return json.MarshalIndent(&top, "", "  ")
}

// says records what a value may be, in place of reading it.
func (d *decoder) says(s schema) bool {
	if d.schema == nil {
		return false
	}
	*d.schema = s
	return true
}

// inner returns the schema that reading makes.
func (d *decoder) inner(read func()) *schema {
	outer := d.schema
	d.schema = new(schema)
	read()
	made := d.schema
	d.schema = outer
	return made
}

func stringSchema() schema { return schema{Type: "string", MinLength: 1} }

func stringsSchema() schema {
	item := stringSchema()
	return schema{Type: "array", Items: &item}
}

func stringOrListSchema() schema {
	one, several := stringSchema(), stringsSchema()
	return schema{AnyOf: []*schema{&one, &several}}
}

// describe makes d's schema that of a table: each field is asked what it reads.
func describe[T any](d *decoder, fields []field[T], into *T) {
	*d.schema = schema{Draft: d.schema.Draft, Title: d.schema.Title, Type: "object", Properties: map[string]*schema{}, Rest: false}
	for _, f := range fields {
		s := alternatives(func(one *schema, v *value) {
			f.set(&decoder{schema: one, report: new(report), key: f.key, write: f.write}, into, v)
		})
		s.Description, s.write = f.doc, f.write
		d.schema.Properties[f.key] = s
	}
}

// alternatives joins what a field says for values of several kinds: some look at the kind first.
func alternatives(ask func(*schema, *value)) *schema {
	var all []*schema
	for _, v := range []*value{{}, {kind: text, text: "auto"}, {kind: array}, {kind: inline, table: new(table)}} {
		s := new(schema)
		ask(s, v)
		if s.Type == "" && s.AnyOf == nil { // nothing is read from it: the word itself is meant
			if v.kind != text {
				continue
			}
			*s = schema{Type: "string", Enum: []string{v.text}}
		}
		if !slices.ContainsFunc(all, func(o *schema) bool { return bytes.Equal(spell(o), spell(s)) }) {
			all = append(all, s)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return &schema{AnyOf: all}
}

// spell is a schema as JSON, to compare.
func spell(s *schema) []byte {
	b, _ := json.Marshal(s) // nothing in it can fail
	return b
}
