package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// checkCommand is "genkan check": every mistake at once, without network and without privilege.
func checkCommand(io streams) *cobra.Command {
	var file string
	var asJSON, probe bool
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [--json] [--probe]",
		Short: "Show every mistake of a configuration, with its place and the fix",
		Long: `Check reads a configuration and all that it includes, and shows every mistake at once, one a line:
FILE:LINE:COLUMN: what is wrong; what to write. It needs no network and no privilege, and changes nothing.
The exit status is 0 for a configuration that holds, with or without warnings, and 1 for one that does not.

With --probe it goes on to ask the mail and DNS servers behind, from the addresses that they see of clients, for what
only friends may have: to take a letter for elsewhere (none is sent), to look up any name. An address of a pool is made
this host's for so long where Genkan does not run. The exit status is then 1 where one does, and 4 where it could not
be seen.`,
		Args: arguments(0, 0, "[-c FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := config.Load(file, config.Options{})
			var asked []diagnosis
			if probe && err == nil {
				asked = probes(cmd.Context(), plan, true)
			}
			if asJSON {
				return checkJSON(io.out, plan, asked, err)
			}
			if err != nil {
				return err
			}
			printWarnings(io.err, plan)
			fmt.Fprintf(io.out, "%s holds: %s\n", file, summary(plan))
			for _, c := range plan.Chosen {
				fmt.Fprintf(io.out, "%s: %s\n", c.Pos, c.Msg)
			}
			printDiagnoses(io.out, asked)
			return worst(asked)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object on standard output")
	cmd.Flags().BoolVar(&probe, "probe", false, "ask the mail and DNS servers, too, whether they are open to all")
	return cmd
}

// A finding is one mistake or warning in JSON.
type finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1; 0: the file as a whole
	Column  int    `json:"column"` // in bytes, from 1
	Message string `json:"message"`
}

func findings(ms config.Mistakes) []finding {
	all := make([]finding, 0, len(ms))
	for _, m := range ms {
		all = append(all, finding{m.Pos.File, m.Pos.Line, m.Pos.Col, m.Msg})
	}
	return all
}

func checkJSON(out io.Writer, plan *config.Plan, asked []diagnosis, err error) error {
	var answer struct {
		OK       bool        `json:"ok"`
		Mistakes []finding   `json:"mistakes"`
		Warnings []finding   `json:"warnings"`
		Chosen   []finding   `json:"chosen,omitempty"` // by presets
		Probes   []diagnosis `json:"probes,omitempty"`
	}
	answer.Probes = asked
	var mistakes config.Mistakes
	answer.OK = !errors.As(err, &mistakes)
	answer.Mistakes = findings(mistakes)
	answer.Warnings = findings(nil)
	if plan != nil {
		answer.Chosen = findings(plan.Chosen)
		answer.Warnings = findings(plan.Warnings)
	}
	if err := writeJSON(out, answer); err != nil {
		return err
	}
	if !answer.OK {
		return exit(1)
	}
	return worst(asked)
}

// writeJSON writes one object on one line.
func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func printWarnings(out io.Writer, plan *config.Plan) {
	for _, w := range plan.Warnings {
		fmt.Fprintf(out, "%s: warning: %s\n", w.Pos, w.Msg)
	}
}

// summary says in a few words what a configuration holds.
func summary(plan *config.Plan) string {
	parts := []string{plural(len(plan.Proxy.Sites), "site"), plural(len(plan.Proxy.Forwards), "forward")}
	switch t := plan.Tunnel; {
	case t == nil:
		parts = append(parts, "no tunnel")
	case t.Kind == "6in4":
		parts = append(parts, "a 6in4 tunnel to "+t.Remote.String())
	default:
		parts = append(parts, "a 6rd tunnel in "+t.Prefix.String())
	}
	return strings.Join(parts, ", ")
}

func itoa(n int) string { return strconv.Itoa(n) }
