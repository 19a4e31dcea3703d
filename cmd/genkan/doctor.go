package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
	"genkan/tunnel"
)

// A severity says how much a finding matters. The zero severity is the worst.
type severity int

const (
	bad  severity = iota // something does not work
	warn                 // it will bite, or could not be seen to the end
	fine
)

func (s severity) String() string { return [...]string{"bad", "warn", "ok"}[s] }

// A diagnosis is one thing that was looked at, as JSON and in words.
type diagnosis struct {
	Check    string `json:"check"`    // a word
	Severity string `json:"severity"` // "ok", "warn" or "bad"
	Found    string `json:"found"`    // what was looked at, and what was found
	Why      string `json:"why"`      // what it breaks; "" where nothing
	Fix      string `json:"fix"`      // the command or line; "" where nothing
}

func found(check string, s severity, format string, args ...any) diagnosis {
	return diagnosis{Check: check, Severity: s.String(), Found: fmt.Sprintf(format, args...)}
}

func (d diagnosis) because(why, fix string) diagnosis {
	d.Why, d.Fix = why, fix
	return d
}

// A patient is the host that is looked at.
type patient struct {
	plan    *config.Plan
	running *runState     // nil: no "genkan run" answers
	tunnel  *tunnelStatus // nil: no tunnel stands
	hidden  error         // why "genkan run" may not be asked; nil: it may
	veiled  error         // why whoever has the tunnel may not be asked; nil: he may

	gently bool // nothing is asked of servers in the name of a client, or of a CA

	domain   tunnel.Config // [tunnel] with what DHCP gives
	leaseErr error         // why DHCP gives nothing
}

// tunnelConfig is [tunnel], with relays also where DHCP gives them.
func (p *patient) tunnelConfig() tunnel.Config { return p.domain }

// A checkup looks at one thing. Each has its own deadline within ctx.
type checkup func(ctx context.Context, p *patient) []diagnosis

// checkupPatience bounds one checkup.
const checkupPatience = 15 * time.Second

// doctorCommand is "genkan doctor".
func doctorCommand(io streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [-c FILE] [--json]",
		Short: "Say what is wrong with this host's IPv6, why, and the line that fixes it",
		Long: `Doctor looks at this host as the configuration wants it: kernel, IPv4 uplink, protocol 41 both ways, firewalls,
address, route, DNS, backends, certificates, clock. It changes nothing. The exit status is 0 where all is well, 4 where
there are warnings, and 1 where something does not work. It is best run as root, while Genkan runs.`,
		Args: arguments(0, 0, "[-c FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := config.Load(file, config.Options{})
			if err != nil {
				return err
			}
			all := examine(cmd.Context(), newPatient(cmd.Context(), plan, socket))
			if asJSON {
				err = writeJSON(io.out, struct {
					Findings []diagnosis `json:"findings"`
				}{all})
			} else {
				printDiagnoses(io.out, all)
			}
			if err == nil {
				err = worst(all)
			}
			return err
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// newPatient asks the processes that run.
func newPatient(ctx context.Context, plan *config.Plan, socket string) *patient {
	p := &patient{plan: plan}
	var s runState
	text, err := ask(ctx, socket, http.MethodGet, "/v1/status", nil)
	switch {
	case err == nil && json.Unmarshal(text, &s) == nil:
		p.running, p.tunnel = &s, s.Tunnel
	case errors.Is(err, os.ErrPermission):
		p.hidden, p.veiled = err, err
	}
	if p.tunnel == nil && plan.Tunnel != nil {
		var t tunnelStatus
		text, err := askTunnel(ctx, *plan.Tunnel, http.MethodGet, "/v1/tunnel")
		switch {
		case err == nil && json.Unmarshal(text, &t) == nil:
			p.tunnel = &t
		case errors.Is(err, os.ErrPermission):
			p.veiled = err
		}
	}
	if plan.Tunnel != nil {
		within, cancel := context.WithTimeout(ctx, checkupPatience)
		defer cancel()
		p.domain, p.leaseErr = tunnel.Leased(within, *plan.Tunnel)
	}
	return p
}

// examine makes all checkups that the plan calls for, in the order in which one fault causes the next.
func examine(ctx context.Context, p *patient) []diagnosis {
	var all []diagnosis
	checkups := []checkup{checkClock, checkListeners, checkBackends, checkNames, checkCertificates}
	if !p.gently {
		checkups = append(checkups, checkRelaying, checkACME)
	}
	if p.plan.Tunnel != nil && p.plan.Tunnel.Role != tunnel.RoleRelay {
		checkups = append([]checkup{checkKernel, checkUplink, checkFirewall, checkRelay, checkSysctls, checkAddress, checkRoute, checkSending}, checkups...)
	}
	if p.plan.Tunnel == nil {
		checkups = append([]checkup{checkFirewall}, checkups...)
	}
	for _, c := range checkups {
		within, cancel := context.WithTimeout(ctx, checkupPatience)
		all = append(all, c(within, p)...)
		cancel()
	}
	return all
}

func printDiagnoses(out io.Writer, all []diagnosis) {
	for _, d := range all {
		fmt.Fprintf(out, "%-4s  %s: %s\n", d.Severity, d.Check, d.Found)
		if d.Why != "" {
			fmt.Fprintf(out, "      %s\n", d.Why)
		}
		if d.Fix != "" {
			fmt.Fprintf(out, "      fix: %s\n", d.Fix)
		}
	}
}

// worst is the exit status.
func worst(all []diagnosis) error {
	status := exit(0)
	for _, d := range all {
		switch d.Severity {
		case bad.String():
			return exit(1)
		case warn.String():
			status = 4
		}
	}
	if status == 0 {
		return nil
	}
	return status
}
