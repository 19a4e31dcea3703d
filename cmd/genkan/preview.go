package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"genkan/acl"
	"genkan/cmd/genkan/config"
	"genkan/tunnel"
)

// preview says what "genkan tunnel up" changes on this host, as commands of other tools, and what becomes reachable.
// It changes nothing. Where everything has to be taken back, nothing may be deleted.
func preview(ctx context.Context, out io.Writer, plan *config.Plan, takeBack bool) error {
	steps, err := tunnel.Plan(ctx, *plan.Tunnel)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if name, ok := strings.CutPrefix(step, tunnel.Deletes); ok && takeBack {
			return fmt.Errorf("--replace deletes the interface %[1]q, and --confirm could not bring it back; choose another --interface, or see that you do without it, and say ip link del %[1]s", name)
		}
	}
	for _, step := range steps {
		fmt.Fprintln(out, step)
	}
	if local := plan.Tunnel.Local; local.IsValid() && !ours4(local) {
		fmt.Fprintf(out, "warning: no interface of this host has the local address %s: nothing arrives until one has it\n", local)
	}
	previewExposed(out, plan)
	return nil
}

// previewExposed says what the IPv6 Internet will reach on this host.
func previewExposed(out io.Writer, plan *config.Plan) {
	listening := listeners6()
	if plan.Tunnel.Expose == tunnel.ExposeAll {
		fmt.Fprintf(out, "exposes all that listens on IPv6: %s\n", orNothing(listening))
		return
	}
	let := []string{"ICMPv6", "answers"}
	ports, err := planPorts(plan, acl.AddrFrom(netip.IPv6Loopback())) // of whatever address
	if err != nil {                                                   // "up" itself will say it
		ports = nil
	}
	for _, p := range ports {
		let = append(let, p.Proto+"/"+strconv.Itoa(int(p.First)))
	}
	fmt.Fprintf(out, "lets in: %s\n", strings.Join(let, ", "))
	listening = slices.DeleteFunc(listening, func(l string) bool { return slices.Contains(let, l) })
	fmt.Fprintf(out, "keeps out: all else that listens on IPv6: %s\n", orNothing(listening))
}

func orNothing(words []string) string {
	if len(words) == 0 {
		return "nothing at the moment"
	}
	return strings.Join(words, ", ")
}

// listeners6 are the ports that some program listens on at all IPv6 addresses, as "tcp/22".
func listeners6() []string {
	const wildcard = "00000000000000000000000000000000"
	var ports []string
	for _, t := range []struct{ proto, file, state string }{
		{"tcp", "/proc/net/tcp6", "0A"}, // LISTEN
		{"udp", "/proc/net/udp6", "07"}, // unconnected
	} {
		f, err := os.Open(t.file)
		if err != nil {
			continue // no IPv6 in this kernel
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			words := strings.Fields(lines.Text())
			if len(words) < 4 || words[3] != t.state {
				continue
			}
			host, port, _ := strings.Cut(words[1], ":")
			n, err := strconv.ParseUint(port, 16, 16)
			if name := t.proto + "/" + strconv.Itoa(int(n)); err == nil && host == wildcard && !slices.Contains(ports, name) {
				ports = append(ports, name)
			}
		}
		f.Close()
	}
	slices.Sort(ports)
	return ports
}
