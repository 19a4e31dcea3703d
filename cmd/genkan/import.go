package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// importCommand is "genkan import", the way in from what an operator has.
func importCommand(io streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Turn the rules of ufw, or a configuration of nginx, into Genkan's",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(importUFWCommand(io), importNginxCommand(io))
	return cmd
}

// mostImported bounds what is read from a file or a pipe.
const mostImported = 16 << 20

// readSource reads a file, or standard input for "-".
func readSource(name string, in io.Reader) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, mostImported+1))
	if err == nil && len(text) > mostImported {
		err = fmt.Errorf("%s: more than %d MiB; this is no configuration", name, mostImported>>20)
	}
	return text, err
}
