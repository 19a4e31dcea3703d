package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// tunnelStatusCommand is "genkan tunnel status".
func tunnelStatusCommand(streams streams) *cobra.Command {
	var asJSON bool
	cmd := tunnelAskCommand("status [--json]", "Say what the tunnel is and has done", "/v1/tunnel", func(out io.Writer, answer []byte) error {
		if asJSON {
			_, err := out.Write(answer)
			return err
		}
		var s tunnelStatus
		if err := json.Unmarshal(answer, &s); err != nil {
			return fmt.Errorf("the tunnel's process answers what cannot be read: %w", err)
		}
		s.words(out)
		return nil
	}, streams)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// words is the status for people.
func (s tunnelStatus) words(out io.Writer) {
	fmt.Fprintf(out, "interface  %s, %s %s, %s datapath, MTU %d\n", s.Interface, s.Kind, s.Role, s.Datapath, s.MTU)
	for _, why := range s.Fallback {
		fmt.Fprintf(out, "           not %s\n", why)
	}
	if s.Delegated.IsValid() {
		fmt.Fprintf(out, "address    %s in %s, from %s\n", s.Address, s.Delegated, s.Local)
	} else { // a relay beside its domain
		fmt.Fprintf(out, "address    %s, at %s\n", s.Address, s.Local)
	}
	if s.LeaseFrom != "" {
		fmt.Fprintf(out, "domain     %s, by DHCP: %s\n", s.Domain, s.LeaseFrom)
	}
	for _, r := range s.Relays {
		in := ""
		if r == s.Relay && len(s.Relays) > 1 {
			in = ", in use"
		}
		fmt.Fprintf(out, "relay      %s%s\n", r, in)
	}
	fmt.Fprintf(out, "checks     %s\n", strings.Join(s.Checks, ", then "))
	fmt.Fprintf(out, "exposes    %s, filter %s\n", s.Expose, s.Filter)
	if s.Filter == "stateless" {
		fmt.Fprintln(out, "           no conntrack here: what this host asks by UDP gets no answer; load nf_conntrack and nft_ct")
	}
	fmt.Fprintf(out, "since      %s, process %d, made again %d times\n", s.Since.Format(time.RFC3339), s.Pid, s.Remade)
	fmt.Fprintf(out, "received   %d packets, %d bytes\n", s.Received.Packets, s.Received.Bytes)
	fmt.Fprintf(out, "sent       %d packets, %d bytes\n", s.Sent.Packets, s.Sent.Bytes)
	reasons := make([]string, 0, len(s.Drops))
	for reason, n := range s.Drops {
		if n > 0 {
			reasons = append(reasons, reason)
		}
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		fmt.Fprintf(out, "dropped    %d %s\n", s.Drops[reason], reason)
	}
	if s.ConfirmUntil != nil {
		fmt.Fprintf(out, "waits      for \"genkan tunnel confirm\" until %s\n", s.ConfirmUntil.Format(time.RFC3339))
	}
}
