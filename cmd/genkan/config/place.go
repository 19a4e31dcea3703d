package config

import (
	"fmt"
	"strings"

	"genkan/acl"
)

// place reports what the proxy has said, each with its place.
func (k *checker) place(err error) {
	all := []error{err}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		all = many.Unwrap()
	}
	for _, err := range all {
		k.mistake(k.placeOf(err.Error()), "%s", err)
	}
}

// placeOf finds the table that a fault of the proxy begins with, as in `site "x": …`; else it is the file.
func (k *checker) placeOf(msg string) acl.Pos {
	says := func(kind string, name Text) bool { return strings.HasPrefix(msg, fmt.Sprintf("%s %q: ", kind, name.S)) }
	for _, s := range k.c.Sites {
		if pos, ok := s.routeOf(msg); ok {
			return pos
		}
		if says("site", s.Name) {
			return s.placeOf(msg)
		}
	}
	for _, f := range k.c.Forwards {
		if says("forward", f.Name) {
			return f.service.placeOf(msg)
		}
	}
	for _, l := range k.c.Listeners {
		if says("listener", l.Listen) {
			return l.Listen.Pos
		}
	}
	for _, p := range k.c.Pools {
		if says("pool", p.Name) {
			return p.Name.Pos
		}
	}
	if text, ok := strings.CutPrefix(msg, "listen "); ok {
		return k.placeOfListen(text)
	}
	if k.c.ACME != nil && strings.HasPrefix(msg, "[acme]: ") {
		return k.c.ACME.Pos
	}
	return acl.Pos{File: k.c.File}
}

// placeOf finds the value of a service that a fault of it is about, as in `site "x": to "192.0.2.1:80": …`; else it is the name.
func (s *service) placeOf(msg string) acl.Pos {
	for key, texts := range map[string][]Text{"listen": s.Listen, "to": s.To} {
		for _, t := range texts {
			if strings.Contains(msg, fmt.Sprintf("%q: %s %q: ", s.Name.S, key, t.S)) {
				return t.Pos
			}
		}
	}
	return s.Name.Pos
}

// placeOfListen finds the listen that a fault of two listeners begins with.
func (k *checker) placeOfListen(msg string) acl.Pos {
	var all []Text
	for _, s := range k.c.Sites {
		all = append(all, s.Listen...)
	}
	for _, f := range k.c.Forwards {
		all = append(all, f.Listen...)
	}
	for _, t := range all {
		if strings.HasPrefix(msg, fmt.Sprintf("%q: ", t.S)) {
			return t.Pos
		}
	}
	return acl.Pos{File: k.c.File}
}
