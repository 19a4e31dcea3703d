package acl

import (
	"strings"
	"time"
)

// A matcher is the targets of one rule.
type matcher struct {
	any4, any6 bool // a whole family is meant
	set        *Set // prefixes and ranges
	lists      []*List
	listNames  []string // as in the rule
	look       bool     // IPv4 inside IPv6 satisfies set and lists: deny rules only
	inside     []insideTarget
}

// An insideTarget is "6rd:", "nat64:" or "6to4:" with an IPv4 prefix.
type insideTarget struct {
	by     Mechanism
	prefix Prefix
	tunnel bool // only for clients that came through our tunnel
}

// A hit says how a matcher matched: directly, or by the IPv4 address inside.
type hit struct {
	ok bool
	in inside
}

// A seeker finds what is embedded in one client's address, once, when the
// first rule wants it.
type seeker struct {
	client Client
	key    key
	in     *insides
	found  embeddings
	done   bool
}

func (s *seeker) embedded() []inside {
	if !s.done {
		s.seek()
	}
	return s.found.at[:s.found.n]
}

func (s *seeker) seek() {
	s.in.of(s.client.Addr, &s.found)
	s.done = true
}

// match reports whether the client of s is meant. The zero time is now.
func (m *matcher) match(s *seeker, at time.Time) hit {
	if s.key.is4 && m.any4 || !s.key.is4 && m.any6 || m.set.has(s.key) {
		return hit{ok: true}
	}
	for _, l := range m.lists {
		if l.has(s.key, at) {
			return hit{ok: true}
		}
	}
	if s.key.is4 || !m.look && m.inside == nil {
		return hit{}
	}
	for _, in := range s.embedded() {
		if m.look && m.inListed(in.v4, at) || m.inNamed(in, s.client.Tunnel) {
			return hit{true, in}
		}
	}
	return hit{}
}

func (m *matcher) inListed(v4 uint32, at time.Time) bool {
	if m.set.containsInside(v4) {
		return true
	}
	for _, l := range m.lists {
		if l.containsInside(v4, at) {
			return true
		}
	}
	return false
}

func (m *matcher) inNamed(in inside, tunnel bool) bool {
	for i := range m.inside {
		t := &m.inside[i]
		if t.by == in.by && (tunnel || !t.tunnel) && t.prefix.Contains(addr4(in.v4)) {
			return true
		}
	}
	return false
}

// targets reads the words after the verb. Every mistake is reported.
func targets(words []string, v verb, env *Env) (m matcher, errs []error) {
	var b SetBuilder
	for i := 0; i < len(words); i++ {
		err := misplaced(words, i, v)
		if err == nil {
			err = m.add(words[i], v, env, &b)
		} else if words[i] == "per" {
			i++ // its length
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	m.set = b.Build()
	m.look = v == deny && env.Embedded == EmbeddedDeny
	return m, errs
}

// misplaced explains a word that is no target where it stands.
func misplaced(words []string, i int, v verb) error {
	switch w := words[i]; {
	case w == "per" && v.isGate():
		return fail(w, "\"per /LEN\" stands once, before the targets; write %s", v.usage())
	case w == "per":
		return fail(w, "only limit and conns count per prefix; write %s", v.usage())
	case w == "allow" || w == "deny" || w == "limit" || w == "conns":
		return fail(w, "begins a rule, and each rule is a string of its own")
	case w == "-" && 0 < i && i < len(words)-1:
		return fail(w, "a range has no spaces; write %q", words[i-1]+w+words[i+1])
	}
	return nil
}

func (m *matcher) add(w string, v verb, env *Env, b *SetBuilder) error {
	l, listed := env.Lists[w]
	mechanism, rest, named := strings.Cut(w, ":")
	switch {
	case w == "all":
		m.any4, m.any6 = true, true
	case w == "ipv4":
		m.any4 = true
	case w == "ipv6":
		m.any6 = true
	case listed:
		m.lists, m.listNames = append(m.lists, l), append(m.listNames, w)
	case named && (mechanism == "6rd" || mechanism == "nat64" || mechanism == "6to4"):
		return m.addInside(w, mechanism, rest, v, env)
	case named && isMechanism(mechanism):
		return mechanismMistake(w, strings.ToLower(mechanism), rest)
	case strings.Contains(w, ","):
		return fail(w, "targets are separated by spaces; write %q", strings.Join(strings.FieldsFunc(w, func(r rune) bool { return r == ',' }), " "))
	case strings.Contains(w, "-") && !isWord(w):
		r, err := ParseRange(w)
		b.Add(r)
		return err
	case isWord(w):
		return fail(w, "%s", noList(w, env))
	default:
		p, err := ParsePrefix(w)
		b.AddPrefix(p)
		return err
	}
	return nil
}

// isMechanism reports whether w names a way of embedding, in any case.
func isMechanism(w string) bool {
	switch strings.ToLower(w) {
	case "6rd", "nat64", "nat64-local", "6to4", "teredo", "isatap", "siit", "compat":
		return true
	}
	return false
}

// mechanismMistake explains what "MECHANISM:PREFIX" of another case, or of a
// mechanism that has no word, is.
func mechanismMistake(w, lower, rest string) error {
	switch lower {
	case "6rd", "nat64", "6to4":
		return fail(w, "write %q", lower+":"+rest)
	}
	return fail(w, "only 6rd:, nat64: and 6to4: look inside by name; %q looks into %s, too", "deny "+rest, lower)
}

// addInside reads MECHANISM:PREFIX.
func (m *matcher) addInside(w, mechanism, text string, v verb, env *Env) error {
	p, err := ParsePrefix(text)
	switch {
	case err != nil:
		return fail(w, "%s", err.(*ParseError).Msg)
	case !p.Is4():
		return fail(w, "what is inside is IPv4; write %q", mechanism+":192.0.2.0/24")
	case v == allow && mechanism != "6rd":
		return fail(w, "a %s source costs nothing to forge, so it cannot be allowed by the IPv4 address inside; write its IPv6 prefix", mechanism)
	case mechanism == "6rd" && !env.SixRD.IsValid():
		return fail(w, "there is no 6rd domain without [tunnel]; write the IPv6 prefix itself")
	}
	switch mechanism {
	case "6rd":
		m.inside = append(m.inside, insideTarget{SixRDomain, p, v == allow})
	case "6to4":
		m.inside = append(m.inside, insideTarget{SixToFour, p, false})
	case "nat64":
		m.inside = append(m.inside, insideTarget{NAT64, p, false}, insideTarget{NAT64Local, p, false})
	}
	return nil
}

// isWord reports whether w looks like a list's name and not like an address.
func isWord(w string) bool {
	return ValidListName(w) && strings.Trim(w, "0123456789.-") != "" && w[:1] != "0"
}

// ValidListName reports whether s can name a list: letters, digits, "_", "-"
// and ".", a letter first, at most 64, and no word of the rule language.
func ValidListName(s string) bool {
	switch s {
	case "", "all", "ipv4", "ipv6", "per", "any", "none":
		return false
	}
	c := s[0] | 0x20
	return len(s) <= 64 && c >= 'a' && c <= 'z' && strings.Trim(s, listNameBytes) == ""
}

const listNameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

func noList(w string, env *Env) string {
	known := []string{"all", "ipv4", "ipv6"}
	for name := range env.Lists {
		known = append(known, name)
	}
	msg := "no list has this name"
	if near := nearest(w, known); near != "" {
		return msg + "; did you mean \"" + near + "\"?"
	}
	return msg + "; define it in [lists], or write an address"
}
