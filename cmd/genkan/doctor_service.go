package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"genkan/proxy"
)

// checkListeners sees whether our ports are free, where Genkan does not run.
func checkListeners(_ context.Context, p *patient) []diagnosis {
	if p.running != nil {
		return []diagnosis{found("ports", fine, "Genkan listens on %s", strings.Join(p.running.Listening, ", "))}
	}
	if p.hidden != nil { // its own ports would be another program's
		return []diagnosis{found("ports", warn, "whether Genkan runs cannot be seen: %v", p.hidden).
			because("What it has open, and how it is, is not looked at.", asRoot)}
	}
	if len(p.plan.Listens()) == 0 && p.tunnel != nil { // "genkan tunnel up", for a host that wants IPv6 and no front
		return []diagnosis{found("ports", fine, "the configuration has none to listen on")}
	}
	var all []diagnosis
	for _, l := range p.plan.Listens() {
		if !taken(p.spot(l), l.Network) {
			continue
		}
		all = append(all, found("ports", bad, "another program listens on %s", l).
			because("Genkan cannot start beside it. The command names it: stop it, or let it listen on 127.0.0.1 and put Genkan before it.", fmt.Sprintf("ss -lnp 'sport = :%d'", l.Port)))
	}
	if len(all) == 0 {
		start := "systemctl start genkan"
		if p.tunnel != nil { // by "genkan tunnel up": a tunnel has one owner
			start = "genkan tunnel down --interface " + p.tunnel.Interface + " && " + start
		}
		all = append(all, found("ports", warn, "Genkan does not run; no other program has its ports").because("Nobody serves.", start))
	}
	return all
}

// spot is where a listener binds. That of the tunnel stands for any IPv6 address of ours while there is no tunnel: who
// has [::] has it, too.
func (p *patient) spot(l proxy.Listen) netip.AddrPort {
	switch {
	case l.Tunnel && p.tunnel != nil:
		return netip.AddrPortFrom(p.tunnel.Address, l.Port)
	case l.Tunnel:
		return netip.AddrPortFrom(netip.IPv6Loopback(), l.Port)
	case l.Addr.IsValid():
		return netip.AddrPortFrom(l.Addr.Netip(), l.Port)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), l.Port)
}

// taken reports whether somebody has the address and port.
func taken(at netip.AddrPort, network string) bool {
	var closer io.Closer
	var err error
	if network == "udp" {
		closer, err = net.ListenPacket("udp", at.String())
	} else {
		closer, err = net.Listen("tcp", at.String())
	}
	if err == nil {
		closer.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}

// checkBackends connects to each server behind.
func checkBackends(ctx context.Context, p *patient) []diagnosis {
	var all []diagnosis
	seen := make(map[string]bool)
	for _, s := range p.plan.Services() {
		for _, b := range s.To {
			if seen[b.String()] || s.UDP {
				continue
			}
			seen[b.String()] = true
			c, err := dial4(ctx, b)
			if err != nil {
				all = append(all, found("backend", bad, "%s of %s cannot be reached: %v", b, s.Name, err).
					because("Clients get 502, or a reset.", fmt.Sprintf("start the server, or look at the firewall between: nc -vz %s", strings.Replace(b.String(), ":", " ", 1))))
				continue
			}
			c.Close()
			all = append(all, found("backend", fine, "%s of %s answers", b, s.Name))
		}
	}
	return all
}

// backendPatience bounds one connection to a server.
const backendPatience = 5 * time.Second

func dial4(ctx context.Context, b proxy.Backend) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, backendPatience)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", b.String())
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(backendPatience))
}
