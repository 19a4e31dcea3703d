package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"genkan/acl"
	"genkan/proxy"
)

// ufw is what "ufw status verbose" says.
type ufw struct {
	lines []ufwLine // in its order: IPv4 first
	admit bool      // the default for incoming is allow
	v6    bool      // there are rules for IPv6
}

// A ufwLine is one rule.
type ufwLine struct {
	text   string // as written, without columns
	action string // "allow", "deny", "reject", "limit"
	v6     bool
	out    bool     // about outgoing or forwarded packets
	any    bool     // every port and protocol
	proto  string   // "tcp", "udp" or "" for both
	ports  [][2]int // first and last
	from   string   // a prefix, or "" for Anywhere
	odd    string   // why it cannot be said in an access; "" when it can
}

// parseUFW reads "ufw status verbose". What is no rule is an error with its line.
func parseUFW(text string) (*ufw, error) {
	u := new(ufw)
	status, inTable := "", false
	columns := [2]int{} // where Action and From begin
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \r\t")
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "":
		case key == "Status":
			status = value
		case key == "Default":
			u.admit = strings.Contains(value, "allow (incoming)")
		case strings.HasPrefix(strings.TrimSpace(line), "To ") && strings.Contains(line, "Action"):
			columns = [2]int{strings.Index(line, "Action"), strings.Index(line, "From")}
			inTable = true
		case !inTable || strings.Trim(line, " -") == "":
		default:
			l, err := parseUFWLine(line, columns)
			if err != nil {
				return nil, fmt.Errorf("ufw status, line %d: %w", i+1, err)
			}
			u.v6 = u.v6 || l.v6
			u.lines = append(u.lines, l)
		}
	}
	switch {
	case status == "":
		return nil, errors.New("this is no output of \"ufw status verbose\": it has no line \"Status: active\"")
	case status != "active":
		return nil, fmt.Errorf("ufw is %s: it has no rules to carry over", status)
	}
	return u, nil
}

// parseUFWLine splits one rule by the columns of the header; a rule that is too
// long for its column moves the rest to the right.
func parseUFWLine(line string, columns [2]int) (ufwLine, error) {
	if strings.HasPrefix(line, "[") { // of "numbered"
		if end := strings.Index(line, "]"); end > 0 {
			line = strings.Repeat(" ", end+1) + line[end+1:]
		}
	}
	at := -1
	var action string
	for _, a := range []string{"ALLOW", "DENY", "REJECT", "LIMIT"} {
		if i := strings.Index(line, " "+a+" "); i >= 0 && (at < 0 || i < at) {
			at, action = i+1, a
		}
	}
	if at < 0 || at < columns[0]-1 {
		return ufwLine{}, fmt.Errorf("%q is no rule", strings.TrimSpace(line))
	}
	l := ufwLine{text: strings.Join(strings.Fields(line), " "), action: strings.ToLower(action)}
	rest := line[at+len(action):]
	direction, from, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	switch direction {
	case "IN":
	case "OUT", "FWD":
		l.out = true
	default:
		from = rest
	}
	from, _, _ = strings.Cut(from, " # ")
	l.target(strings.TrimSpace(line[:at]))
	l.source(strings.TrimSpace(from))
	return l, nil
}

// target reads the column To: 22/tcp, 80,443/tcp (WWW Full), 22/tcp (v6) on eth0, 192.0.2.1 22/tcp.
func (l *ufwLine) target(to string) {
	l.v6 = strings.Contains(to, "(v6)")
	to = strings.TrimSpace(strings.ReplaceAll(to, "(v6)", ""))
	if before, after, found := strings.Cut(to, " on "); found {
		to = before
		l.odd = "only on the interface " + strings.TrimSpace(after)
	}
	what, name, named := strings.Cut(to, " (")
	if named && !strings.HasSuffix(name, ")") {
		l.odd = "not understood"
	}
	words := strings.Fields(what)
	if len(words) == 2 {
		if _, err := acl.ParsePrefix(words[0]); err == nil {
			l.odd = "only to the address " + words[0]
			words = words[1:]
		}
	}
	if len(words) != 1 {
		l.odd = "an application's name; write ufw status verbose"
		return
	}
	ports, proto, _ := strings.Cut(words[0], "/")
	l.proto = proto
	switch {
	case proto != "" && proto != "tcp" && proto != "udp":
		l.odd = "neither TCP nor UDP"
	case ports == "Anywhere":
		l.any = true
	default:
		for p := range strings.SplitSeq(ports, ",") {
			first, last, found := strings.Cut(p, ":")
			if !found {
				last = first
			}
			low, err1 := strconv.ParseUint(first, 10, 16)
			high, err2 := strconv.ParseUint(last, 10, 16)
			if err1 != nil || err2 != nil {
				if _, err := acl.ParsePrefix(p); err == nil {
					l.odd = "only to the address " + p
				} else if l.odd == "" {
					l.odd = "an application's name; write ufw status verbose"
				}
				return
			}
			l.ports = append(l.ports, [2]int{int(low), int(high)})
		}
	}
}

// source reads the column From.
func (l *ufwLine) source(from string) {
	from = strings.TrimSpace(strings.TrimSuffix(strings.TrimSuffix(from, "(log-all)"), "(log)"))
	from = strings.TrimSpace(strings.TrimSuffix(from, "(out)"))
	if strings.Contains(from, "(v6)") {
		l.v6 = true
		from = strings.TrimSpace(strings.ReplaceAll(from, "(v6)", ""))
	}
	if from == "Anywhere" || l.proto != "" && from == "Anywhere/"+l.proto {
		return
	}
	p, err := acl.ParsePrefix(strings.TrimSuffix(from, "/"+l.proto))
	if err != nil {
		if l.odd == "" {
			l.odd = "of certain ports or interfaces of the client"
		}
		return
	}
	l.from = p.String()
	if p.Netip().IsSingleIP() {
		l.from = p.Netip().Addr().String()
	}
	l.v6 = l.v6 || !p.Is4()
}

// covers tells whether clients of a listener are judged by this line.
func (l *ufwLine) covers(at proxy.Listen) bool {
	if l.out || l.odd != "" || l.proto != "" && l.proto != at.Network {
		return false
	}
	return l.any || slices.ContainsFunc(l.ports, func(p [2]int) bool { return p[0] <= int(at.Port) && int(at.PortEnd) <= p[1] })
}

// access is the rules of the lines that a listener's clients meet. Where both
// families have the same rules for everybody in the same order, or IPv6 has
// none, these are said once for all; else each family keeps its own.
func (u *ufw) access(at proxy.Listen, carried []bool) []string {
	var families [2][]ufwLine
	for i, l := range u.lines {
		if l.covers(at) {
			carried[i] = true
			families[family(l.v6)] = append(families[family(l.v6)], l)
		}
	}
	var rules []string
	if !u.v6 || slices.Equal(forAll(families[0]), forAll(families[1])) {
		rules = interleave(families)
	} else {
		for i, lines := range families {
			for _, l := range lines {
				rules = append(rules, l.rules([]string{"ipv4", "ipv6"}[i])...)
			}
		}
	}
	if u.admit {
		return append(rules, "allow all")
	}
	if len(rules) == 0 {
		return []string{"deny all"}
	}
	return rules
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// forAll is the actions of the lines that mean everybody.
func forAll(lines []ufwLine) (actions []string) {
	for _, l := range lines {
		if l.from == "" {
			actions = append(actions, l.action)
		}
	}
	return actions
}

// interleave joins two families between the rules that mean everybody, which
// are the same in both, or only in the first.
func interleave(families [2][]ufwLine) (rules []string) {
	v4, v6 := families[0], families[1]
	take := func(lines []ufwLine) []ufwLine {
		for len(lines) > 0 && lines[0].from != "" {
			rules = append(rules, lines[0].rules("")...)
			lines = lines[1:]
		}
		return lines
	}
	for {
		v4, v6 = take(v4), take(v6)
		if len(v4) == 0 {
			return rules
		}
		rules = append(rules, v4[0].rules("all")...)
		v4 = v4[1:]
		if len(v6) > 0 {
			v6 = v6[1:]
		}
	}
}

// rules is one line in the words of an access; anywhere stands for everybody.
func (l *ufwLine) rules(anywhere string) []string {
	target := l.from
	if target == "" {
		target = anywhere
	}
	switch l.action {
	case "limit": // ufw(8): six attempts in thirty seconds
		return []string{"limit 6/30s " + target, "allow " + target}
	case "allow":
		return []string{"allow " + target}
	}
	return []string{"deny " + target}
}
