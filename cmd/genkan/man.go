package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"genkan/cmd/genkan/config"
)

// manCommand is "genkan man", for packages: it writes genkan(8), a page for each subcommand, and genkan.toml(5).
func manCommand(io streams) *cobra.Command {
	var date string
	cmd := &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   arguments(1, 1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			day, err := time.Parse(time.DateOnly, date)
			if err != nil {
				return usagef("--date %q is no date; write it as 2006-01-02", date)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			header := doc.GenManHeader{Section: "8", Source: "genkan " + version, Manual: "Genkan", Date: &day}
			if err := doc.GenManTree(root, &header, args[0]); err != nil {
				return err
			}
			page := md2man.Render([]byte(configPage(date)))
			return os.WriteFile(filepath.Join(args[0], "genkan.toml.5"), page, 0o644)
		},
	}
	cmd.Flags().StringVar(&date, "date", "1970-01-01", "the `DAY` that the pages show")
	return cmd
}

// configPage is genkan.toml(5) in Markdown.
func configPage(date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `GENKAN.TOML 5 %s "genkan %s" Genkan
====

# NAME
genkan.toml - the configuration of genkan(8)

# DESCRIPTION
One TOML file, %s unless -c says otherwise. **genkan check** shows every mistake in it with its place and
the fix, **genkan fmt** writes it in the usual form, **genkan explain** says which rule decides for a client,
and **genkan schema** prints its JSON Schema for editors.

# KEYS
`, date, version, configFile)
	for _, k := range config.Keys() {
		fmt.Fprintf(&b, "**%s** as in `%s`\n: %s.\n\n", escapeMarkdown(k.Name), k.Write, escapeMarkdown(k.Doc))
	}
	b.WriteString("# SEE ALSO\n**genkan**(8), **genkan-check**(8), **genkan-explain**(8)\n")
	return b.String()
}

// escapeMarkdown keeps names with _ and * as they are.
func escapeMarkdown(s string) string {
	return strings.NewReplacer("_", `\_`, "*", `\*`, "[", `\[`, "]", `\]`, "<", `\<`).Replace(s)
}
