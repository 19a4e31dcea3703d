package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// schemaCommand is "genkan schema".
func schemaCommand(io streams) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration file, for editors",
		Long: `Schema prints the JSON Schema (draft 7) of the configuration file. An editor with a TOML language server
completes and explains keys with it; for Taplo, put "#:schema /usr/share/genkan/genkan.schema.json" into the
first line of the file. It knows each key by itself; how values go together, "genkan check" tells.`,
		Args: arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			text, err := config.Schema()
			if err == nil {
				_, err = fmt.Fprintf(io.out, "%s\n", text)
			}
			return err
		},
	}
}
