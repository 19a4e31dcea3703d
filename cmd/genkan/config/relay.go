package config

import (
	"slices"
	"strings"

	"genkan/proxy"
)

// openRelay refuses a mail or DNS server that would see every client as the front itself: the front's address lies in
// the networks that such servers trust, so the Internet could send mail through it (DESIGN §3; mailcow #3598, #4220, #5242).
func (k *checker) openRelay(f *Forward, out *proxy.Forward) {
	own := out.Source == proxy.SourceOwn || out.Source == proxy.SourceTransparent && out.Pool == "" // IPv6 clients: ours
	misspelt := f.hasAnnounce && (f.Announce == nil || len(out.Announce) < len(f.Announce))
	if f.AllowOpenRelay || !own || carriesClient(out) || misspelt {
		return // misspelt: what it was to say is not known, and has been reported
	}
	what, becomes := "", "relay"
	switch {
	case f.Protocol == "smtp" || f.Protocol == "dns":
		what = "protocol " + f.Protocol
	default:
		for _, l := range out.Listen {
			what = trusting(what, "listens on", l.Port, l.PortEnd)
		}
		for _, b := range out.To {
			what = trusting(what, "leads to", b.Port, b.PortEnd)
		}
	}
	if what == "" {
		return
	}
	fix := `source = "pool" with a [pool.default], or announce = ["proxy-v2"] where the server reads it, or allow_open_relay = true`
	if f.Name.Pos.File == commandLine {
		fix = "--announce proxy-v2 where the server reads it, or --allow-open-relay"
	}
	if f.Protocol == "dns" || strings.HasSuffix(what, "DNS") {
		becomes = "resolver"
	}
	k.mistake(f.Name.Pos, "forward %q (%s): the server would see all clients as this machine, which it trusts: an open %s; write %s", f.Name.S, what, becomes, fix)
}

// carriesClient reports whether the server learns in-band who the client is.
func carriesClient(f *proxy.Forward) bool {
	return slices.ContainsFunc(f.Announce, func(way string) bool { return way == "proxy-v1" || way == "proxy-v2" || way == "xclient" })
}

// trusting names the first port of a range whose servers trust by address.
func trusting(already, verb string, first, last uint16) string {
	if already != "" {
		return already
	}
	for _, port := range []uint16{25, 53, 465, 587} {
		if first <= port && port <= max(first, last) {
			return verb + " port " + portName(port)
		}
	}
	return ""
}

func portName(port uint16) string {
	switch port {
	case 25:
		return "25, mail"
	case 53:
		return "53, DNS"
	case 465:
		return "465, mail"
	}
	return "587, mail"
}
