package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
	"genkan/tunnel"
)

// initCommand is "genkan init": a first configuration from what is found on this host.
func initCommand(io streams) *cobra.Command {
	var prefix string
	var relays []string
	cmd := &cobra.Command{
		Use:   "init [FILE | -]",
		Short: "Write a first configuration from what is found on this host",
		Long: `Init looks for this host's IPv4 address, for the 6rd domain that the uplink's DHCP gives (it asks, which changes no
lease), and for servers that listen on IPv4 only, and writes a commented configuration that puts Genkan before them, to FILE
(` + configFile + ` without one) or, with -, to standard output. A file that exists is not touched. Servers that listen on
the loopback alone are named in a remark, and nothing leads to them.`,
		Args: arguments(0, 1, "[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if prefix == "" && len(relays) > 0 {
				return usagef("--relay %s without --prefix; write both, or none", relays[0])
			}
			if prefix != "" && len(relays) == 0 {
				return usagef("--prefix %s without --relay; write both, or none", prefix)
			}
			found := look()
			if prefix == "" && !found.native {
				found.askDHCP(cmd.Context())
			}
			text, err := firstConfig(found, prefix, relays)
			if err != nil {
				return err
			}
			file := configFile
			if len(args) == 1 {
				file = args[0]
			}
			if file == "-" {
				_, err := io.out.Write(text)
				return err
			}
			if err := writeNew(file, text); err != nil {
				return err
			}
			fmt.Fprintf(io.out, "%s is written; look at it, then write genkan check -c %s\n", file, file)
			return nil
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "the provider's 6rd `PREFIX`")
	cmd.Flags().StringArrayVar(&relays, "relay", nil, "the provider's border relay, an `IPV4` address; may be repeated")
	return cmd
}

// writeNew writes a file that must not exist.
func writeNew(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and is not touched; name another file", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// A hostLook is what was found on this host.
type hostLook struct {
	local   netip.Addr // our IPv4 address towards the Internet; zero: none
	servers []netip.AddrPort
	native  bool // there is an IPv6 default route

	leased tunnel.Config // the 6rd domain that DHCP gives; without a prefix: none
}

// leaseWait bounds how long DHCP is waited for: a server answers within a second or never.
const leaseWait = 6 * time.Second

// askDHCP looks for option 212 in the leases of this host, then asks the server.
func (h *hostLook) askDHCP(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	if found, err := tunnel.Leased(ctx, tunnel.Config{DHCP: true}); err == nil {
		h.leased = found
	}
}

// look looks at this host. It sends nothing.
func look() hostLook {
	h := hostLook{native: defaultRoute6() != "", servers: servers4()}
	c, err := net.Dial("udp4", "192.0.2.1:9") // any address of the Internet: connecting a UDP socket sends nothing
	if err != nil {
		return h
	}
	defer c.Close()
	if at, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
		h.local = at.Addr()
	}
	return h
}

// servers4 are the TCP ports that listen on IPv4 and not on IPv6.
func servers4() []netip.AddrPort {
	also := listeners6()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil
	}
	var all []netip.AddrPort
	for _, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) < 4 || words[3] != "0A" {
			continue
		}
		at, ok := procAddr4(words[1])
		if !ok || slices.Contains(also, "tcp/"+strconv.Itoa(int(at.Port()))) {
			continue
		}
		all = append(all, at)
	}
	return onePerPort(all)
}

// onePerPort keeps one server a port, in the order of ports: one that others reach before one on the loopback.
func onePerPort(all []netip.AddrPort) []netip.AddrPort {
	hidden := func(s netip.AddrPort) int {
		if s.Addr().IsLoopback() {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b netip.AddrPort) int {
		return cmp.Or(cmp.Compare(a.Port(), b.Port()), cmp.Compare(hidden(a), hidden(b)))
	})
	return slices.CompactFunc(all, func(a, b netip.AddrPort) bool { return a.Port() == b.Port() })
}

// procAddr4 reads "0100007F:0050" of /proc/net/tcp: four bytes in the machine's order, here little-endian, and a port.
func procAddr4(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	ip, err := strconv.ParseUint(host, 16, 32)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(host) != 8 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(ip), byte(ip >> 8), byte(ip >> 16), byte(ip >> 24)}), uint16(n)), true
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

// firstConfig writes the configuration and proves that it holds.
func firstConfig(h hostLook, prefix string, relays []string) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Genkan's configuration; genkan check tells every mistake in it, with its place and the fix.\n\n")
	on := "tunnel"
	switch {
	case prefix != "":
		relay := make([]string, len(relays))
		for i, r := range relays {
			relay[i] = strconv.Quote(r)
		}
		fmt.Fprintf(&b, "[tunnel]\nprefix = %q # the provider's 6rd prefix\nrelays = [%s] # its border relays\n", prefix, strings.Join(relay, ", "))
	case h.leased.Prefix.IsValid():
		fmt.Fprintf(&b, "[tunnel]\ndhcp = true # found: %s, relays %s, which are followed as they change\n", h.leased.Prefix, h.leased.Relays)
	case h.native:
		on = ""
		b.WriteString("# This host has an IPv6 default route already, so there is no [tunnel] here.\n")
	default:
		on = ""
		b.WriteString("# This host has no IPv6. Where your provider has 6rd (RFC 5969), write its prefix and relays, take the # away,\n" +
			"# and write \"tunnel:PORT\" in the listen lines below:\n#\n# [tunnel]\n# prefix = \"2001:db8::/32\"\n# relays = [\"192.0.2.1\"]\n")
	}
	if h.local.IsValid() && on != "" {
		fmt.Fprintf(&b, "# local = %q # found: our IPv4 address\n", h.local)
	}
	var hidden []string
	forwards := 0
	for _, s := range h.servers {
		if s.Addr().IsLoopback() { // a database, a resolver, a debugger: who bound it there wants nobody from outside
			hidden = append(hidden, s.String())
			continue
		}
		writeForward(&b, s, on)
		forwards++
	}
	if forwards == 0 {
		b.WriteString("\n# No server here listens to others by IPv4 only. This one would stand before a web server elsewhere:\n")
		writeForward(&b, netip.MustParseAddrPort("192.0.2.10:80"), on)
	}
	if hidden != nil {
		b.WriteString("\n# These listen for this host alone, so nothing here leads to them; where all may come, write a [forward] as above:\n# " +
			strings.Join(hidden, ", ") + "\n")
	}
	text, err := config.Format("genkan init", []byte(b.String()))
	if err != nil {
		return nil, err
	}
	return text, proves(text)
}

// writeForward puts one server behind a forward.
func writeForward(b *strings.Builder, s netip.AddrPort, on string) {
	listen := fmt.Sprintf("%s:%d", on, s.Port())
	if on == "" {
		listen = fmt.Sprintf("[::]:%d", s.Port())
	}
	to := s
	if s.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), s.Port())
	}
	fmt.Fprintf(b, "\n[forward.port%d]\nlisten = %q\nto = %q\naccess = [\"limit 30/10s\", \"allow all\"]\n", s.Port(), listen, to)
	if protocol := protocolOf(s.Port()); protocol != "" {
		fmt.Fprintf(b, "protocol = %q # for sensible bounds, which genkan check shows\n", protocol)
	}
	switch s.Port() {
	case 25, 53, 465, 587:
		b.WriteString("announce = [\"proxy-v2\"] # else all clients look like this host, which the server trusts: an open relay\n")
	}
}

// protocolOf is what a well-known port speaks, where Genkan knows more of that than bytes: FTP would not work without it.
func protocolOf(port uint16) string {
	return map[uint16]string{21: "ftp", 22: "ssh", 25: "smtp", 53: "dns", 110: "pop3", 143: "imap", 587: "smtp"}[port]
}

// proves checks a text as "genkan check" does.
func proves(text []byte) error {
	dir, err := os.MkdirTemp("", "genkan-init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "genkan.toml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, err = config.Load(file, config.Options{})
	if mistakes, ok := err.(config.Mistakes); ok { // of what the operator gave, in a file that is gone again
		for i := range mistakes {
			mistakes[i].Pos.File = "what init would write"
		}
	}
	return err
}
