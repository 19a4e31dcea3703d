package main

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"genkan/proxy"
)

// backendCommand is "genkan backend".
func backendCommand(io streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backend",
		Short: "Show the backends, drain, disable, enable and weigh them",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var socket string
	cmd.PersistentFlags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.AddCommand(
		backendListCommand(io, &socket),
		backendStateCommand(io, &socket, "drain", proxy.BackendDraining, "Give a backend no new connections and requests; what is open goes on"),
		backendStateCommand(io, &socket, "disable", proxy.BackendDisabled, "The same, without checks, and cut what forwards have open to it"),
		backendStateCommand(io, &socket, "enable", proxy.BackendActive, "Let clients come again"),
		backendWeightCommand(io, &socket),
	)
	return cmd
}

func backendListCommand(io streams, socket *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "Show the backends and how they stand",
		Args:  arguments(0, 0, "[--json]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := askFor[[]proxy.BackendStats](cmd.Context(), *socket, "/v1/backends")
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(io.out, all)
			}
			rows := [][]string{{"OF", "BACKEND", "WEIGHT", "OPEN", "TOTAL", "FAILED", "STATE"}}
			for _, b := range all {
				colour, state := backendWords(b)
				rows = append(rows, []string{b.Kind + " " + b.Name, b.Backend, strconv.Itoa(b.Weight), strconv.FormatInt(b.Open, 10),
					strconv.FormatInt(b.Total, 10), strconv.FormatInt(b.Failures, 10), coloured(io.out, colour, state)})
			}
			return printTable(io.out, rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON array")
	return cmd
}

// backendWords says how a backend stands.
func backendWords(b proxy.BackendStats) (colour, words string) {
	switch {
	case b.State == proxy.BackendDraining && b.Open > 0:
		return yellow, "draining"
	case b.State == proxy.BackendDraining:
		return yellow, "drained"
	case b.State == proxy.BackendDisabled:
		return yellow, "disabled"
	case b.Down:
		return red, "DOWN"
	case b.Ejected:
		return yellow, "ejected"
	}
	return green, "up"
}

func backendStateCommand(io streams, socket *string, verb, state, short string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME [BACKEND]",
		Short: short,
		Long: short + `.
NAME is that of its site, route or forward, or KIND/NAME; BACKEND as "genkan backend list" has it, and needed
where there are several. It holds over a reload, an upgrade and a restart.`,
		Args: arguments(1, 2, "NAME [BACKEND]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeBackend(cmd, io, *socket, args, backendChange{State: state})
		},
	}
}

func backendWeightCommand(io streams, socket *string) *cobra.Command {
	return &cobra.Command{
		Use:   "weight NAME [BACKEND] N",
		Short: "Say which part of the clients a backend gets: 1 to 256, 1 unless told",
		Args:  arguments(2, 3, "NAME [BACKEND] N"),
		RunE: func(cmd *cobra.Command, args []string) error {
			last := len(args) - 1
			n, err := strconv.Atoi(args[last])
			if err != nil || n < 1 || n > proxy.MaxWeight {
				return usagef("weight %q is not 1 to %d", args[last], proxy.MaxWeight)
			}
			return changeBackend(cmd, io, *socket, args[:last], backendChange{Weight: n})
		},
	}
}

func changeBackend(cmd *cobra.Command, io streams, socket string, args []string, c backendChange) error {
	c.Name = args[0]
	if len(args) > 1 {
		c.Backend = args[1]
	}
	done, err := askChange[backendChanged](cmd.Context(), socket, http.MethodPost, "/v1/backends", c)
	if err != nil {
		return err
	}
	b := done.Backend
	_, words := backendWords(b)
	fmt.Fprintf(io.out, "%s %s: backend %s: %s, weight %d, %s open\n", b.Kind, b.Name, b.Backend, words, b.Weight, plural(int(b.Open), "connection"))
	if done.Cut > 0 {
		fmt.Fprintf(io.out, "%s cut\n", plural(done.Cut, "connection"))
	}
	return nil
}
