package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"genkan/acl"
	"genkan/cmd/genkan/config"
	"genkan/tunnel"
	"genkan/tunnel/sixrd"
)

// preview says what "genkan tunnel up" changes on this host. It changes nothing.
func preview(out io.Writer, plan *config.Plan) error {
	cfg := *plan.Tunnel
	name := cfg.Interface
	if name == "" {
		name = tunnel.DefaultInterface
	}
	local, err := localAddress(cfg)
	if err != nil {
		return err
	}
	on, domain, err := expected(cfg, local)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "interface  %s, from our IPv4 address %s\n", name, local)
	fmt.Fprintf(out, "address    %s\n", on)
	if domain.IsValid() {
		fmt.Fprintf(out, "route      %s directly\n", domain)
	}
	if cfg.Role != tunnel.RoleRelay {
		fmt.Fprintf(out, "route      default through %s\n", through(cfg))
	}
	previewExposed(out, plan, acl.AddrFrom(on.Addr()))
	return obstacles(out, name, cfg.Replace)
}

// expected is our address with the length of our prefix, and the domain that is reached without the relay.
func expected(cfg tunnel.Config, local netip.Addr) (on, domain netip.Prefix, err error) {
	if cfg.Kind == tunnel.Kind6in4 {
		return cfg.Address, netip.Prefix{}, nil
	}
	d := sixrd.Domain{Prefix: cfg.Prefix, IPv4MaskLen: cfg.IPv4MaskLen, Common: local, Relays: cfg.Relays}
	delegated, err := d.Delegated(local)
	if err != nil {
		return on, domain, err
	}
	address, err := d.Address(local)
	return netip.PrefixFrom(address, delegated.Bits()), cfg.Prefix, err
}

// through names the other end.
func through(cfg tunnel.Config) string {
	if cfg.Kind == tunnel.Kind6in4 {
		return cfg.Remote.String()
	}
	return cfg.Relays[0].String()
}

// localAddress is our IPv4 address: as configured, or the source address towards the other end.
func localAddress(cfg tunnel.Config) (netip.Addr, error) {
	if cfg.Local.IsValid() {
		return cfg.Local, nil
	}
	other := through(cfg)
	c, err := net.Dial("udp4", net.JoinHostPort(other, "9")) // connecting a UDP socket sends nothing
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no IPv4 route to %s: %w; bring IPv4 up first, or write local", other, err)
	}
	defer c.Close()
	at, err := netip.ParseAddrPort(c.LocalAddr().String())
	return at.Addr().Unmap(), err
}

// previewExposed says what the IPv6 Internet will reach on this host.
func previewExposed(out io.Writer, plan *config.Plan, address acl.Addr) {
	listening := listeners6()
	if plan.Tunnel.Expose == tunnel.ExposeAll {
		fmt.Fprintf(out, "exposes    all that listens on IPv6: %s\n", orNothing(listening))
		return
	}
	let := []string{"ICMPv6", "answers"}
	ports, err := planPorts(plan, address)
	if err != nil { // "up" itself will say it
		ports = nil
	}
	for _, p := range ports {
		let = append(let, p.Proto+"/"+strconv.Itoa(int(p.First)))
	}
	fmt.Fprintf(out, "lets in    %s\n", strings.Join(let, ", "))
	listening = slices.DeleteFunc(listening, func(l string) bool { return slices.Contains(let, l) })
	fmt.Fprintf(out, "keeps out  all else that listens on IPv6: %s\n", orNothing(listening))
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

// obstacles says what stands already and is not touched without --replace.
func obstacles(out io.Writer, name string, replace bool) error {
	var found []string
	if _, err := net.InterfaceByName(name); err == nil {
		found = append(found, fmt.Sprintf("an interface %q exists", name))
	}
	if dev := defaultRoute6(); dev != "" && dev != name {
		found = append(found, fmt.Sprintf("there is an IPv6 default route through %q", dev))
	}
	if len(found) == 0 {
		return nil
	}
	if replace {
		fmt.Fprintf(out, "replaces   %s\n", strings.Join(found, "; "))
		return nil
	}
	return errors.New(strings.Join(found, "; ") + ": it stays, and nothing is changed; write --replace to put the tunnel in its place")
}

// defaultRoute6 is the interface of the IPv6 default route, "" without one.
func defaultRoute6() string {
	text, err := os.ReadFile("/proc/net/ipv6_route")
	if err != nil {
		return "" // no IPv6 in this kernel
	}
	for _, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) < 10 || strings.Trim(words[0], "0") != "" || words[1] != "00" || words[9] == "lo" {
			continue
		}
		return words[9]
	}
	return ""
}
