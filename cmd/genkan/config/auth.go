package config

import (
	"strings"

	"genkan/proxy"
	"genkan/proxy/htpasswd"
)

// An Auth is basic_auth = { … }.
type Auth struct {
	File  Text // of htpasswd, relative to the configuration file
	Realm Text // not given: the site's name
}

func authFields() []field[Auth] {
	return []field[Auth]{
		{"file", `"staff.htpasswd"`, "NAME:HASH a line, bcrypt or apr1; read at start and reload", func(d *decoder, a *Auth, v *value) { a.File = d.text(v) }},
		{"realm", `"Staff"`, "what browsers call the place; the site's name without it", func(d *decoder, a *Auth, v *value) { a.Realm = d.text(v) }},
	}
}

// auth reads basic_auth: a file, or one with its realm.
func (d *decoder) auth(v *value) Auth {
	a := Auth{}
	if v.kind == inline {
		if sub(d, v, authFields(), &a); !a.File.Given() {
			d.mistake(v.pos, "basic_auth: there is no file in here; write { file = \"staff.htpasswd\" }")
		}
		return a
	}
	a.File = d.text(v)
	return a
}

// auth reads who may come in. A file that cannot be read lets nobody in.
func (k *checker) auth(a Auth, site string) *proxy.Auth {
	if !a.File.Given() {
		return nil
	}
	out := &proxy.Auth{Realm: a.Realm.S}
	if out.Realm == "" {
		out.Realm = strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f || r == '"' || r == '\\' {
				return '?'
			}
			return r
		}, site)
	}
	src, err := readBounded(relative(a.File))
	if err != nil {
		k.mistake(a.File.Pos, "basic_auth %q: %s", a.File.S, cause(err))
		return out
	}
	if out.Users, err = htpasswd.Parse(string(src)); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			k.mistake(a.File.Pos, "basic_auth %q: %s", a.File.S, line)
		}
	}
	return out
}
