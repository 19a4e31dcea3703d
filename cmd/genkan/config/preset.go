package config

import (
	"fmt"
	"time"

	"genkan/proxy"
)

// idleOf is how long a connection of a protocol may be silent; zero is what holds for all.
func idleOf(protocol string) time.Duration {
	switch protocol {
	case "dns": // RFC 7766 §6.2.3: seconds; a UDP session ends once all is answered
		return 30 * time.Second
	case "smtp": // RFC 5321 §4.5.3.2.6: ten minutes for the answer to DATA, the longest of all
		return 10*time.Minute + 30*time.Second
	case "pop3": // RFC 1939 §3: a server waits ten minutes at least
		return 10*time.Minute + 30*time.Second
	case "imap": // RFC 9051 §5.4: a server waits thirty minutes at least
		return 30*time.Minute + 30*time.Second
	}
	return 0
}

// preset puts in what protocol chooses where the operator has chosen nothing, and notes it for "genkan check".
func (k *checker) preset(f *Forward, out *proxy.Forward) {
	note := func(what string) {
		k.chosen = append(k.chosen, Mistake{Pos: f.Name.Pos, Msg: fmt.Sprintf("forward %q: protocol %q chose %s", f.Name.S, f.Protocol, what)})
	}
	if f.Protocol == "" {
		return
	}
	// A server believes an announcement of the front's own address, and of no other.
	if !f.Source.Given() && k.hasPool("default") && !carriesClient(out) {
		out.Source, out.Pool = proxy.SourcePool, "default"
		note(`source = "pool"`)
	}
	if idle := idleOf(f.Protocol); idle > 0 && f.Idle == 0 && k.c.Timeouts.Idle == 0 {
		out.Idle = idle
		note(fmt.Sprintf("idle = %q", idle))
	}
	if f.Protocol == "dns" {
		note("answers of at most 1232 bytes over UDP to IPv6 clients")
	}
	if f.Protocol == "ftp" && !f.Passive.Given() {
		note(`passive = "50000-50099"`)
	}
}
