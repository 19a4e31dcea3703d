package main

import (
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"genkan/proxy/certs"
)

// soon is how many days before its end a certificate is worth a look.
const soon = 14

// certCommand is "genkan cert".
func certCommand(io streams) *cobra.Command {
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cert [--json]",
		Short: "Show the certificates, their days left, and what went wrong",
		Args:  arguments(0, 0, "[--json]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := askFor[[]certs.Status](cmd.Context(), socket, "/v1/certificates")
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(io.out, all)
			}
			rows := [][]string{{"NAME", "SOURCE", "ISSUER", "ENDS", "DAYS", "STATE"}}
			for _, c := range all {
				ends, days := "-", "-"
				if !c.NotAfter.IsZero() {
					ends = c.NotAfter.UTC().Format(time.DateOnly)
					days = strconv.Itoa(int(math.Floor(daysLeft(c, time.Now()))))
				}
				colour, state := certWords(c, time.Now())
				rows = append(rows, []string{c.Name, c.Source, orDash(c.Issuer), ends, days, coloured(io.out, colour, state)})
			}
			return printTable(io.out, rows)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON array")
	return cmd
}

// certWords says how a certificate stands.
func certWords(c certs.Status, now time.Time) (colour, words string) {
	switch left := daysLeft(c, now); {
	case c.NotAfter.IsZero():
		colour, words = red, "none yet"
	case left < 0:
		colour, words = red, "EXPIRED"
	case left < soon:
		colour, words = yellow, "ends soon"
	default:
		colour, words = green, "good"
	}
	if c.Error != "" {
		return red, words + "; " + c.Error
	}
	return colour, words
}
