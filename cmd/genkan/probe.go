package main

import (
	"context"
	"fmt"
	"net/netip"

	"genkan/acl"
	"genkan/cmd/genkan/config"
	"genkan/proxy"
	"genkan/proxy/probe"
)

// checkRelaying asks mail and DNS servers whether they do for our clients what only friends may ask.
func checkRelaying(ctx context.Context, p *patient) []diagnosis { return probes(ctx, p.plan, false) }

// probes asks the servers of a plan. The tunnel need not stand: nothing listens. borrow is of proxy.ProbeAll.
func probes(ctx context.Context, plan *config.Plan, borrow bool) []diagnosis {
	cfg := plan.Proxy
	if plan.Tunnel != nil {
		cfg.Tunnel = acl.AddrFrom(netip.IPv6Loopback())
	}
	all, err := proxy.ProbeAll(ctx, cfg, borrow)
	out := make([]diagnosis, 0, len(all))
	for _, one := range all {
		out = append(out, probed(one))
	}
	if err != nil {
		out = append(out, found("open relay", warn, "asking failed: %v", err))
	}
	return out
}

// probed says in words what a server did.
func probed(p proxy.Probe) diagnosis {
	check, does, doesNot := "open resolver", "looks up any name", "looks up none but its own names"
	why := "The Internet can use the server through this forward, to flood others with its answers."
	fix := `source = "pool" with a [pool.default] whose prefix lies outside the server's own networks; or take this address out of its allow-recursion`
	if p.Mail {
		check, does, doesNot = "open relay", "takes mail for elsewhere", "takes no mail for elsewhere"
		why = "The Internet can send mail through the server by this forward."
		fix = `source = "pool" with a [pool.default] whose prefix lies outside the server's own networks, or announce = ["proxy-v2"] where the server reads it; or take this address out of its mynetworks`
	}
	place := fmt.Sprintf("%s of forward %q", p.Backend, p.Forward)
	switch p.Verdict {
	case probe.Trusts:
		return found(check, bad, "%s %s for a client (%s): %s", place, does, p.As, p.Text).because(why, fix)
	case probe.Refuses:
		return found(check, fine, "%s %s for a client (%s): %s", place, doesNot, p.As, p.Text)
	}
	return found(check, warn, "%s was asked as a client (%s): %s", place, p.As, p.Text).
		because("Whether the Internet can use it could not be seen: ask again as root, on the front, while the server runs.", "sudo genkan check --probe")
}
