package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"genkan/acl"
	"genkan/cmd/genkan/config"
)

// An explanation is the answer of "genkan explain" in JSON.
type explanation struct {
	Client  string `json:"client"` // the canonical address that was judged
	Verdict string `json:"verdict"`
	Rule    string `json:"rule"` // "" where no rule decided
	File    string `json:"file"`
	Line    int    `json:"line"`
	Why     string `json:"why"`
}

// explainCommand is "genkan explain": which rule decides for a client. It asks the function that the daemon asks.
func explainCommand(io streams) *cobra.Command {
	var file, tunnel string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain [-c FILE] [--json] SITE-OR-FORWARD CLIENT",
		Short: "Say which rule decides for a client, and where it is written",
		Long: `Explain asks the same function as the daemon which rule decides for a client of a site or forward.
The exit status is 0 where the client may enter and 3 where not.`,
		Args: arguments(2, 2, "SITE-OR-FORWARD CLIENT"),
		RunE: func(_ *cobra.Command, args []string) error {
			plan, err := config.Load(file)
			if err != nil {
				return err
			}
			service, err := plan.Service(args[0])
			if err != nil {
				return err
			}
			answer, err := explain(service, args[1], tunnel)
			if err != nil {
				return err
			}
			return answer.print(io, asJSON)
		},
	}
	configFlag(cmd, &file)
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "one JSON object")
	flags.StringVar(&tunnel, "tunnel", "auto", "whether the client came through the tunnel: `true, false or auto`, which is true for IPv6 clients where the tunnel is listened on")
	flags.Lookup("tunnel").NoOptDefVal = "true"
	return cmd
}

// explain judges one client.
func explain(s config.Service, text, tunnel string) (explanation, error) {
	addr, err := acl.ParseAddr(text)
	if err != nil {
		return explanation{}, fmt.Errorf("client %w", err)
	}
	client := acl.Client{Addr: addr}
	switch tunnel {
	case "true":
		client.Tunnel = true
	case "false":
	case "auto":
		client.Tunnel = addr.Is6() && s.OnTunnel
	default:
		return explanation{}, usagef("--tunnel %q: write true, false or auto", tunnel)
	}
	v := s.Access.Check(client)
	v.Release()
	answer := explanation{Client: addr.String(), Verdict: "deny", Rule: v.Rule, File: v.Pos.File, Line: v.Pos.Line, Why: v.Why}
	if v.Allow {
		answer.Verdict = "allow"
	}
	return answer, nil
}

func (e explanation) print(io streams, asJSON bool) error {
	err := error(nil)
	switch {
	case asJSON:
		err = writeJSON(io.out, e)
	case e.Rule == "":
		_, err = fmt.Fprintf(io.out, "%s: %s (%s)\n", e.Client, e.Verdict, e.Why)
	default:
		_, err = fmt.Fprintf(io.out, "%s: %s by %q at %s:%d (%s)\n", e.Client, e.Verdict, e.Rule, e.File, e.Line, e.Why)
	}
	if err == nil && e.Verdict == "deny" {
		return exit(3)
	}
	return err
}
