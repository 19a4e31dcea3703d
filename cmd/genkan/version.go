package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionCommand is "genkan version".
func versionCommand(io streams) *cobra.Command {
	var asJSON, modules bool
	cmd := &cobra.Command{
		Use:   "version [--modules] [--json]",
		Short: "Say which Genkan this is",
		Args:  arguments(0, 0, "[--modules] [--json]"),
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if asJSON {
				return writeJSON(io.out, b)
			}
			fmt.Fprintf(io.out, "genkan %s (commit %s, %s)\n", b.Version, b.Commit, b.Go)
			for _, m := range b.Modules {
				if modules {
					fmt.Fprintf(io.out, "%s %s\n", m.Path, m.Version)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&modules, "modules", false, "also the modules that are built in")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// A build says what this program was made from.
type build struct {
	Version string   `json:"version"`
	Commit  string   `json:"commit"` // "unknown" where it was not built in a checkout
	Go      string   `json:"go"`
	Modules []module `json:"modules"`
}

type module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

func readBuild() build {
	b := build{Version: version, Commit: commit, Go: "unknown", Modules: []module{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	for _, m := range info.Deps {
		b.Modules = append(b.Modules, module{m.Path, m.Version})
	}
	return b
}
