package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"genkan/acl"
	"genkan/tunnel"
	"genkan/tunnel/sixrd"
)

// tunnelCommand is "genkan tunnel": 6rd by itself.
func tunnelCommand(io streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tunnel",
		Short: "6rd by itself",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		tunnelAddressCommand(io), tunnelUpCommand(io), tunnelConfirmCommand(io), tunnelDownCommand(io),
		tunnelStatusCommand(io), tunnelKeepCommand(io),
	)
	return cmd
}

// tunnelAddressCommand is "genkan tunnel address": what an IPv4 address is worth in a 6rd domain.
func tunnelAddressCommand(io streams) *cobra.Command {
	var r sixrd.Request
	var mask int
	var relays []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "address PREFIX IPV4",
		Short: "Compute the IPv6 address and delegated prefix of an IPv4 address",
		Long: `Address computes what a host with this IPv4 address has in a 6rd domain (RFC 5969 §7.1.1): its address, its
delegated prefix, its DNS records, and the same tunnel in the words of ip(8), /etc/network/interfaces and
systemd-networkd, for those who want only that. It touches nothing.`,
		Args: arguments(2, 2, "PREFIX IPV4"),
		RunE: func(_ *cobra.Command, args []string) error {
			sheet, err := describe(r, args[0], args[1], mask, relays)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(io.out, sheet)
			}
			printSheet(io.out, sheet, len(relays) > 0)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&mask, "ipv4-mask-len", 0, "leading `BITS` of IPv4 that the whole domain shares (RFC 5969 §7.1.1)")
	flags.StringArrayVar(&relays, "relay", nil, "the provider's border relay, an `IPV4` address")
	flags.StringVar(&r.Host, "host", "", "the `NAME` in the AAAA record; without it @")
	flags.StringVar(&r.Interface, "interface", "", "the interface's `NAME`; without it tun6rd")
	flags.IntVar(&r.MTU, "mtu", 0, "of the tunnel in `BYTES`; without it 1280")
	flags.BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// ownerRunes are those that a name in a zone file has without escapes.
const ownerRunes = "abcdefghijklmnopqrstuvwxyz0123456789-_.*@"

func describe(r sixrd.Request, prefix, ipv4 string, mask int, relays []string) (sixrd.Sheet, error) {
	p, err := acl.ParsePrefix(prefix)
	if err != nil {
		return sixrd.Sheet{}, fmt.Errorf("PREFIX %w", err)
	}
	if p.Is4() {
		return sixrd.Sheet{}, fmt.Errorf("PREFIX %q: this is IPv4; write the provider's 6rd prefix first, then your IPv4 address", prefix)
	}
	if r.IPv4, err = parse4("IPV4", ipv4); err != nil {
		return sixrd.Sheet{}, err
	}
	r.Domain = sixrd.Domain{Prefix: p.Netip(), IPv4MaskLen: mask, Common: r.IPv4}
	for _, text := range relays {
		relay, err := parse4("--relay", text)
		if err != nil {
			return sixrd.Sheet{}, err
		}
		r.Domain.Relays = append(r.Domain.Relays, relay)
	}
	if r.Interface == "" {
		r.Interface = tunnel.DefaultInterface
	}
	if err := tunnel.CheckInterface(r.Interface); err != nil {
		return sixrd.Sheet{}, err
	}
	_, named := dns.IsDomainName(r.Host)
	if r.Host != "" && !named || strings.ContainsFunc(r.Host, func(c rune) bool { return !strings.ContainsRune(ownerRunes, unicode.ToLower(c)) }) {
		return sixrd.Sheet{}, fmt.Errorf("--host %q: not a name; write one like \"www\" or \"www.example.jp.\"", r.Host)
	}
	return sixrd.Describe(r)
}

// parse4 reads an IPv4 address of the command line.
func parse4(what, text string) (netip.Addr, error) {
	a, err := acl.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s %w", what, err)
	}
	if !a.Is4() {
		return netip.Addr{}, fmt.Errorf("%s %q: this is IPv6; write an IPv4 address", what, text)
	}
	return a.Netip(), nil
}

func printSheet(out io.Writer, s sixrd.Sheet, relay bool) {
	fmt.Fprintf(out, "address    %s\ndelegated  %s\nAAAA       %s\nPTR        %s\n", s.Address, s.Delegated, s.AAAA, s.Arpa)
	fmt.Fprintf(out, "zones      %s\n", strings.Join(s.Zones, " "))
	if !relay {
		fmt.Fprintln(out, "relay      none: what follows reaches the own 6rd domain only; write --relay IPV4 for a default route")
	}
	fmt.Fprintf(out, "\n# ip commands\n%s", s.Commands)
	fmt.Fprintf(out, "\n# /etc/network/interfaces\n%s", s.Interfaces)
	fmt.Fprintf(out, "\n# systemd-networkd, .netdev\n%s", s.Netdev)
	fmt.Fprintf(out, "\n# systemd-networkd, .network\n%s", s.Network)
}
