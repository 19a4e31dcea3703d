package config

import (
	"fmt"
	"time"

	"genkan/proxy"
)

// A preset is what a protocol chooses where the operator has chosen nothing. The zero preset chooses nothing.
type preset struct {
	// idle is how long a connection may be silent; zero is what holds for all.
	idle time.Duration
	// gate is before "allow all", where there is no access.
	gate string
	// expect is what a server greets with, which checks wait for. Empty: connecting is enough.
	expect string
	// every is between two checks, which are made where there are several servers.
	every time.Duration
}

func presetOf(protocol string) preset {
	switch protocol {
	case "dns": // RFC 7766 §6.2.3: idle for seconds; a UDP session ends once all is answered
		return preset{idle: 30 * time.Second, gate: "limit 10000/10s", every: 10 * time.Second}
	case "smtp": // RFC 5321 §4.5.3.2.6: ten minutes for the answer to DATA, the longest of all; Postfix takes 50 from one client
		return preset{idle: 10*time.Minute + 30*time.Second, gate: "conns 50", expect: "220", every: 10 * time.Second}
	case "pop3": // RFC 1939 §3: a server waits ten minutes at least
		return preset{idle: 10*time.Minute + 30*time.Second, gate: "conns 100", expect: "+OK", every: 10 * time.Second}
	case "imap": // RFC 9051 §5.4: a server waits thirty minutes at least; an office has many clients of some connections each
		return preset{idle: 30*time.Minute + 30*time.Second, gate: "conns 500", expect: "* OK", every: 10 * time.Second}
	case "ssh": // a shell may be silent for as long as its user; sshd 9.8 punishes who comes often and does not log in
		return preset{gate: "conns 100", expect: "SSH-", every: time.Minute}
	case "ftp": // RFC 1123 §4.1.3.2: five minutes at least; the longest of servers wait fifteen. Data does not count as silence
		return preset{idle: 15*time.Minute + 30*time.Second, gate: "conns 50", expect: "220", every: 10 * time.Second}
	}
	return preset{}
}

// chose notes what a preset has chosen, for "genkan check".
func (k *checker) chose(f *Forward, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	k.chosen = append(k.chosen, Mistake{Pos: f.Name.Pos, Msg: fmt.Sprintf("forward %q: protocol %q chose %s", f.Name.S, f.Protocol, what)})
}

// presetAccess gives the rules of a forward: the preset's where it has none.
func (k *checker) presetAccess(f *Forward) *service {
	rules := f.service
	if gate := presetOf(f.Protocol).gate; gate != "" && !rules.hasAccess {
		rules.hasAccess = true
		rules.Access = []Text{{gate, f.Name.Pos}, {"allow all", f.Name.Pos}}
		k.chose(f, "access = [%q, \"allow all\"]", gate)
	}
	return &rules
}

// preset puts in what protocol chooses, but for access.
func (k *checker) preset(f *Forward, out *proxy.Forward) {
	if f.Protocol == "" {
		return
	}
	p := presetOf(f.Protocol)
	// A server believes an announcement of the front's own address, and of no other.
	if !f.Source.Given() && k.hasPool("default") && !carriesClient(out) {
		out.Source, out.Pool = proxy.SourcePool, "default"
		k.chose(f, `source = "pool"`)
	}
	if p.idle > 0 && f.Idle == 0 && k.c.Timeouts.Idle == 0 {
		out.Idle = p.idle
		k.chose(f, "idle = %q", p.idle)
	}
	k.presetCheck(f, out, p)
	if f.Protocol == "dns" {
		k.chose(f, "answers of at most 1232 bytes over UDP to IPv6 clients")
	}
	if f.Protocol == "ftp" && !f.Passive.Given() {
		k.chose(f, `passive = "50000-50099"`)
	}
}

// presetCheck has several servers checked, and what a check expects. Postfix takes no PROXY UNKNOWN, which is how a check
// by version 1 says that it is nobody's.
func (k *checker) presetCheck(f *Forward, out *proxy.Forward, p preset) {
	if len(out.Announce) > 0 && out.Announce[0] == "proxy-v1" {
		return
	}
	c := &out.Check
	if c.Interval == 0 && len(out.To) < 2 {
		return
	}
	was := *c
	if c.Interval == 0 {
		c.Interval = p.every
	}
	if c.Send == "" && c.Expect == "" {
		c.Expect = p.expect
	}
	switch {
	case *c == was:
	case c.Expect == "":
		k.chose(f, "check = { interval = %q }", c.Interval)
	default:
		k.chose(f, "check = { interval = %q, expect = %q }", c.Interval, c.Expect)
	}
}
