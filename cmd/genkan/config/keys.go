package config

import (
	"maps"
	"slices"
)

// A Key is one key of the configuration file, for manuals.
type Key struct {
	Name  string // with its tables: site."NAME".listen
	Write string // an example of what stands behind it
	Doc   string
}

// Keys returns every key, those of one table together.
func Keys() []Key {
	var top schema
	decode(&decoder{schema: &top}, nil, fields(), new(Config))
	return top.keys("", nil)
}

// keys appends what is below s, whose own name is before.
func (s *schema) keys(before string, to []Key) []Key {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		to = append(to, Key{before + name, p.write, p.Description})
		to = p.keys(before+name+".", to)
	}
	if rest, ok := s.Rest.(*schema); ok {
		to = rest.keys(before+`"NAME".`, to)
	}
	for _, one := range s.AnyOf {
		to = one.keys(before, to)
	}
	return to
}
