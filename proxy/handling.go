package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"genkan/acl"
	"genkan/proxy/exchange"
	"genkan/proxy/message"
	"genkan/proxy/web"
)

// A Handling is what becomes of the requests of a site, or of a route in its
// place. The zero Handling adds nothing: requests go to the backends.
type Handling struct {
	// Answer is given in the place of a backend's. Nil: there is none.
	Answer *Answer
	// Request and Response edit the fields of what goes to the backend and
	// of what comes back. A route's come behind the site's.
	Request, Response message.Edits
	// MaxBody bounds the content of a request, in bytes, MaxHeader its target
	// and fields. Zero: as the fronts do, which is no bound and 64 KiB.
	MaxBody   int64
	MaxHeader int
	// Auth asks for a password. Nil: nobody is asked.
	Auth *Auth
	// ErrorPages are shown in the place of our own, by status.
	ErrorPages map[int]exchange.Page
}

// An Answer is what is said without a backend.
type Answer struct {
	// Status is 200 to 599. Zero: 302 with Redirect, else 200.
	Status int
	// Redirect is where the client is sent, as web.ParseRedirect reads it.
	// Empty: nowhere.
	Redirect string
	// Page is the content. Zero: the status in words.
	Page exchange.Page
}

// A Route is a part of a site, found by its path.
type Route struct {
	// Path is a prefix of whole segments: "/admin" is also /admin/x. The
	// longest that fits decides.
	Path string
	// Strip takes Path off before the backend gets the request.
	Strip bool
	// Access judges its requests in the place of the site's. Nil: the site's
	// rules do.
	Access *acl.Policy
	// To are backends of its own. None: those of the site.
	To []Backend
	Handling
}

// A part is a site, or a route of one, made ready.
type part struct {
	gateway
	*Handling
	route    string // its path; "": the site
	strip    bool
	group    *group // nil: we answer ourselves
	redirect web.Redirect
	request  []message.Edits
	response []message.Edits
}

// addPart makes a part of one ready, and gives what is wrong with it. to are
// its backends, inherited where they are the site's.
func (st *state) addPart(one *site, p *part, to []Backend, key, name string, s *Server) []error {
	p.request, p.response = one.Request.Then(message.Edits{}), one.Response.Then(message.Edits{})
	if p.route != "" {
		p.request, p.response = one.Request.Then(p.Request), one.Response.Then(p.Response)
	}
	faults := append(p.Request.Check(one.isClaim), p.Response.Check(nil)...)
	faults = append(faults, p.checkAnswer(len(to) > 0), p.Auth.check())
	switch {
	case p.Answer != nil:
	case len(to) == 0 && p.route != "":
		p.group = one.root.group
		if one.root.Answer != nil {
			p.Answer, p.redirect = one.root.Answer, one.root.redirect
		}
	default:
		config, err := st.groupOf(key, name, to, one.Balance, one.checkAs(), one.MaxConns)
		faults = append(faults, err)
		config.scheme, err = checkSchemes(to)
		faults = append(faults, err)
		if speaksTLS(config.scheme) {
			config.trust = one.backendTrust
		}
		config.comesFrom(one.Source, one.Pool)
		p.group = st.takeGroup(config, s)
	}
	return faults
}

// checkAs is the health check of the site's backends, which asks for a name
// that the site has.
func (one *site) checkAs() Check {
	check := one.Check
	if check.Path == "" || check.Host != "" {
		return check
	}
	for _, pattern := range one.Hosts {
		name, err := canonicalPattern(pattern)
		if err != nil || name == "default" || name[0] == '*' {
			continue
		}
		if check.Host = name; strings.Contains(name, ":") { // RFC 9110 §7.2: an IPv6 address is in brackets
			check.Host = "[" + name + "]"
		}
		return check
	}
	return check
}

// checkAnswer refuses answers that cannot be given.
func (p *part) checkAnswer(backends bool) (err error) {
	a := p.Answer
	switch {
	case p.MaxBody < 0 || p.MaxHeader < 0:
		return errors.New("a bound on requests is negative; write how many bytes may come")
	case a == nil:
		return nil
	case backends:
		return errors.New("there are backends, and an answer in their place; take one of them away")
	case a.Redirect == "" && a.Status != 0 && (a.Status < 200 || a.Status > 599):
		return fmt.Errorf("status %d is no answer; write 200 to 599", a.Status)
	case a.Redirect == "" && redirects(a.Status):
		return fmt.Errorf("status %d sends clients elsewhere, and nobody says where; write redirect, too", a.Status)
	case a.Status != 0 && a.Page.Text != "" && message.NoBody("GET", a.Status):
		return fmt.Errorf("status %d has no content, so nobody sees body or file; leave them out, or write another status", a.Status)
	case a.Redirect == "":
		return nil
	case a.Status != 0 && !redirects(a.Status):
		return fmt.Errorf("status %d redirects nobody; write 301, 302, 303, 307 or 308", a.Status)
	}
	p.redirect, err = web.ParseRedirect(a.Redirect)
	return err
}

func redirects(status int) bool { return slices.Contains([]int{301, 302, 303, 307, 308}, status) }

// addRoutes makes the routes of a site ready.
func (st *state) addRoutes(one *site, place string, s *Server, errs *faults) {
	for _, r := range one.Routes {
		where := fmt.Sprintf("%s: route %q", place, r.Path)
		p := &part{gateway: one.gateway, Handling: &r.Handling, route: r.Path, strip: r.Strip}
		if r.Access != nil {
			p.access = r.Access
		}
		if p.MaxBody == 0 {
			p.MaxBody = one.MaxBody
		}
		if p.MaxHeader == 0 {
			p.MaxHeader = one.MaxHeader
		}
		if p.Auth == nil {
			p.Auth = one.Auth
		}
		if p.ErrorPages == nil {
			p.ErrorPages = one.ErrorPages
		}
		errs.addAll(where, st.addPart(one, p, r.To, "route", one.Name+r.Path, s))
		errs.add(place, one.routes.Add(r.Path, p))
		one.parts = append(one.parts, p)
	}
}

// continueRoutes makes the rules of routes that stay go on with their counts.
func (one *site) continueRoutes(was *site) {
	for _, p := range one.parts {
		for _, old := range was.parts {
			if p.route == old.route && p.access != one.access && old.access != was.access {
				p.access.Continue(old.access)
			}
		}
	}
}

// part finds what of a site a request is for, and puts its target into the
// form that was decided on where that matters. An error is answered with 400.
func (one *site) part(r *message.Request) (*part, error) {
	if r.Target == "*" || one.routes.Empty() && one.root.redirect.Empty() {
		return one.root, nil
	}
	path, query, err := web.CleanTarget(r.Target)
	if err != nil {
		return nil, err
	}
	p, err := one.routes.Route(path)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		p = one.root
	case p.strip:
		path = web.Strip(path, p.route)
	}
	if path += query; path != r.Target {
		r.Target = path
	}
	return p, nil
}
