package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// connCommand is "genkan conn".
func connCommand(io streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conn",
		Short: "List what clients have open, and end it",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var socket string
	cmd.PersistentFlags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.AddCommand(connListCommand(io, &socket), connKillCommand(io, &socket))
	return cmd
}

func connListCommand(io streams, socket *string) *cobra.Command {
	var client, name string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--client CLIENT] [--name NAME] [--limit N] [--json]",
		Short: "List connections, UDP sessions and QUIC connections, the oldest first",
		Args:  arguments(0, 0, "[--client CLIENT] [--name NAME] [--limit N] [--json]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"client": {client}, "name": {name}, "limit": {strconv.Itoa(limit)}}
			all, err := askFor[connectionsState](cmd.Context(), *socket, "/v1/connections?"+query.Encode())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(io.out, all)
			}
			rows := [][]string{{"ID", "CLIENT", "BY", "FOR", "BACKEND", "AGE", "UP", "DOWN"}}
			for _, c := range all.Connections {
				whom, up, down := "-", "-", "-"
				if c.Kind != "" {
					whom = c.Kind + " " + c.Name
				}
				if c.Kind == "forward" {
					up, down = bytesOf(c.Up), bytesOf(c.Down)
				}
				rows = append(rows, []string{strconv.FormatUint(c.ID, 10), c.Client.String(), c.Network, whom, orDash(c.Backend),
					time.Since(c.Since).Round(time.Second).String(), up, down})
			}
			if err := printTable(io.out, rows); err != nil {
				return err
			}
			if more := all.Total - len(all.Connections); more > 0 {
				fmt.Fprintf(io.out, "and %d more; --limit shows them\n", more)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&client, "client", "", "only of this `ADDRESS`, prefix or range")
	cmd.Flags().StringVar(&name, "name", "", "only of this site or forward")
	cmd.Flags().IntVar(&limit, "limit", usualConnections, "at most so many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func connKillCommand(io streams, socket *string) *cobra.Command {
	return &cobra.Command{
		Use:   "kill ID|CLIENT",
		Short: "End one connection, or all of a client, prefix or range",
		Args:  arguments(1, 1, "ID|CLIENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/connections?client=" + url.QueryEscape(args[0])
			if _, err := strconv.ParseUint(args[0], 10, 64); err == nil {
				path = "/v1/connections/" + args[0]
			}
			done, err := askChange[cutState](cmd.Context(), *socket, http.MethodDelete, path, nil)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(io.out, "%s ended\n", plural(done.Cut, "connection"))
			return err
		},
	}
}
