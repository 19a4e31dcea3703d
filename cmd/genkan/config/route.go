package config

import (
	"fmt"
	"strings"

	"genkan/acl"
	"genkan/proxy"
	"genkan/proxy/message"
)

// A Route is [[site."NAME".route]]: a part of a site, found by its path.
type Route struct {
	service // Name is the site's with the path; only To and Access are its own
	Path    Text
	Strip   bool // Path is taken off
	Handling
}

func routeFields() []field[Route] {
	own := []field[Route]{
		{"path", `"/admin"`, "which requests: this path and all below it; of several, the longest that fits decides",
			func(d *decoder, r *Route, v *value) { r.Path = d.text(v) }},
		{"strip", `true`, "takes path off before the backend gets the request",
			func(d *decoder, r *Route, v *value) { r.Strip = d.boolean(v) }},
	}
	for _, f := range common(func(r *Route) *service { return &r.service }, "") {
		if f.key == "to" || f.key == "access" {
			own = append(own, f)
		}
	}
	return append(own, handlingFields(func(r *Route) *Handling { return &r.Handling })...)
}

// routes reads the routes of a site.
func (d *decoder) routes(v *value, site Text, fields []field[Route]) []Route {
	if d.schema != nil {
		d.says(schema{Type: "array", Items: d.inner(func() { decode(d, nil, fields, new(Route)) })})
		return nil
	}
	if v.kind != array {
		d.wrong(v)
		return nil
	}
	var all []Route
	for _, item := range v.items {
		if item.kind != inline {
			d.mistake(item.pos, "route: found %s; write the header [[%s]], and its keys below", item.found(), writeKey([]string{"site", site.S, "route"}))
			continue
		}
		r := Route{service: service{Name: Text{site.S, item.pos}, noTo: true}} // by the site's backends, where it has none
		decode(d, item.table, fields, &r)
		r.Name.S += r.Path.S
		all = append(all, r)
	}
	return all
}

// routes translates the routes of a site.
func (k *checker) routes(s *Site, env acl.Env) []proxy.Route {
	var all []proxy.Route
	for i := range s.Routes {
		r := &s.Routes[i]
		if !r.Path.Given() && !k.damaged[s.Name.Pos.File] {
			k.mistake(r.Name.Pos, "a route of site %q has no path; write path = \"/admin\"", s.Name.S)
			continue
		}
		out := proxy.Route{Path: r.Path.S, Strip: r.Strip, To: k.backends(&r.service, "site"), Handling: k.handling(&r.Handling, s.Name.S)}
		k.schemes(&r.service, out.To, "site")
		if r.hasAccess {
			out.Access = k.policy(&r.service, env)
		}
		all = append(all, out)
	}
	return all
}

// routeOf finds the place of the route that a fault of the proxy is about, or of its path; of one that is given
// twice, the second.
func (s *Site) routeOf(msg string) (pos acl.Pos, found bool) {
	for i := range s.Routes {
		r := &s.Routes[i]
		switch {
		case strings.HasPrefix(msg, fmt.Sprintf("site %q: route %q: ", s.Name.S, r.Path.S)),
			strings.HasPrefix(msg, fmt.Sprintf("route %q: ", r.Name.S)):
			return r.Name.Pos, true
		case strings.HasPrefix(msg, fmt.Sprintf("site %q: path %q", s.Name.S, r.Path.S)):
			pos, found = r.Path.Pos, true
		}
	}
	return pos, found
}

// placeOf is service's, and finds the name in hosts that a fault of the site is about.
func (s *Site) placeOf(msg string) acl.Pos {
	for _, h := range s.Hosts {
		if strings.HasPrefix(msg, fmt.Sprintf("site %q: host %q", s.Name.S, h.S)) {
			return h.Pos
		}
	}
	return s.service.placeOf(msg)
}

// Edits are request_headers = { … } or response_headers = { … }.
type Edits struct {
	Set, Add []Edit
	Remove   []Text
}

// An Edit is one field that is set or added.
type Edit struct {
	Name  string
	Value Text
}

func editFields() []field[Edits] {
	return []field[Edits]{
		{"set", `{ X-Env = "prod" }`, "fields in the place of all of the same name", func(d *decoder, e *Edits, v *value) { e.Set = d.edits(v) }},
		{"add", `{ Via = "1.1 genkan" }`, "fields beside those of the same name", func(d *decoder, e *Edits, v *value) { e.Add = d.edits(v) }},
		{"remove", `["X-Powered-By"]`, "fields that are taken out, before the others are put in", func(d *decoder, e *Edits, v *value) { e.Remove = d.texts(v) }},
	}
}

// edits reads { NAME = "VALUE" }, or several values in a list.
func (d *decoder) edits(v *value) []Edit {
	values := stringOrListSchema()
	if d.says(schema{Type: "object", Rest: &values}) {
		return nil
	}
	if v.kind != inline {
		d.wrong(v)
		return nil
	}
	var all []Edit
	for _, e := range v.table.entries {
		for _, t := range d.texts(e.val) {
			all = append(all, Edit{e.key, t})
		}
	}
	return all
}

func (e Edits) edits() message.Edits {
	var out message.Edits
	for _, f := range e.Set {
		out.Set = append(out.Set, message.Field{Name: f.Name, Value: f.Value.S})
	}
	for _, f := range e.Add {
		out.Add = append(out.Add, message.Field{Name: f.Name, Value: f.Value.S})
	}
	for _, t := range e.Remove {
		out.Remove = append(out.Remove, t.S)
	}
	return out
}
