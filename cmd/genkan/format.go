package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// formatCommand is "genkan fmt".
func formatCommand(streams streams) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "fmt [--check] FILE… | -",
		Short: "Write configuration files in the one usual form",
		Long: `Fmt writes each file anew in the usual form, and its name where that changed it; with - it goes from standard
input to standard output. Comments and values stay. With --check it changes nothing, and the exit status is 1
where something would change. What cannot be read is told, and the other files are written.`,
		Args: arguments(1, -1, "FILE…"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "-" {
				return formatStream(streams, check)
			}
			changed, failed := false, false
			for _, file := range args {
				differs, err := formatFile(file, check)
				if err != nil {
					failed = true
					complain(streams.err, err)
					continue
				}
				if differs {
					changed = true
					fmt.Fprintln(streams.out, file)
				}
			}
			if failed || check && changed {
				return exit(1)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only name the files that would change")
	return cmd
}

// largestInput bounds what is read from standard input.
const largestInput = 16 << 20

func formatStream(streams streams, check bool) error {
	src, err := io.ReadAll(io.LimitReader(streams.in, largestInput))
	if err != nil {
		return err
	}
	out, err := config.Format("standard input", src)
	if err != nil {
		return err
	}
	if !check {
		_, err = streams.out.Write(out)
		return err
	}
	if !bytes.Equal(src, out) {
		fmt.Fprintln(streams.out, "standard input")
		return exit(1)
	}
	return nil
}

func formatFile(file string, check bool) (differs bool, err error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	out, err := config.Format(file, src)
	if err != nil || bytes.Equal(src, out) || check {
		return !bytes.Equal(src, out), err
	}
	return true, rewriteFile(file, out)
}
