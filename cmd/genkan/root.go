package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"genkan/cmd/genkan/config"
)

// configFile is where the configuration is read from unless -c says otherwise.
const configFile = "/etc/genkan/genkan.toml"

// rootCommand builds the tree of subcommands.
func rootCommand(io streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "genkan",
		Short: "The IPv6 front door of IPv4-only servers",
		Long: `Genkan brings up this host's 6rd tunnel (RFC 5969), receives every client there, IPv6 and IPv4
alike, decides once who may enter, and hands the connection on over plain IPv4. Its configuration is described in
genkan.toml(5).

The exit status is 0 where all went as asked, 1 where it failed, 2 where the command line is wrong, 3 where "genkan
explain" found that the client is denied, and 4 where "genkan doctor" has warnings and no faults.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(wrongFlag)
	root.AddCommand(
		runCommand(io),
		checkCommand(io),
		forwardCommand(io),
		explainCommand(io),
		hashCommand(io),
		formatCommand(io),
		initCommand(io),
		importCommand(io),
		schemaCommand(io),
		manCommand(io),
		doctorCommand(io),
		listCommand(io),
		whoCommand(io),
		statusCommand(io),
		topCommand(io),
		connCommand(io),
		backendCommand(io),
		certCommand(io),
		reloadCommand(io),
		upgradeCommand(io),
		rollbackCommand(io),
		tunnelCommand(io),
		addressCommand(io),
		demoCommand(io),
		versionCommand(io),
	)
	strictHelp(root)
	return root
}

// strictHelp lets the commands that cobra adds refuse what they do not know: they would show the help and say that all
// is well, also to a script that asks for the completions of another shell.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args = noSuchCommand
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		case "help":
			c.Run = nil
			c.RunE = func(_ *cobra.Command, args []string) error {
				of, rest, err := root.Find(args)
				if err == nil {
					err = noSuchCommand(of, rest)
				}
				if err != nil {
					return err
				}
				of.InitDefaultHelpFlag()
				return of.Help()
			}
		}
	}
}

// wrongFlag says what to write in the place of a flag that cannot be read.
func wrongFlag(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		if want := map[string]string{
			"int": "a whole number", "duration": "a time, as 30s or 5m", "bool": "true or false",
		}[value.GetFlag().Value.Type()]; want != "" {
			return usagef("--%s %q: write %s", value.GetFlag().Name, value.GetValue(), want)
		}
	}
	return usagef("%w; see %q", err, cmd.CommandPath()+" --help")
}

// noSuchCommand is what a command that only holds others says to arguments.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	if near := config.DidYouMean(args[0], names); near != "" {
		return usagef("unknown command %q; did you mean %q?", args[0], near)
	}
	return usagef("unknown command %q; see %q", args[0], cmd.CommandPath()+" --help")
}

// arguments accepts so many arguments and says in words what they are.
func arguments(least, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("too few arguments; write %s %s", cmd.CommandPath(), usage)
		case most >= 0 && len(args) > most:
			return usagef("%q is one argument too many; write %s", args[most], strings.TrimSpace(cmd.CommandPath()+" "+usage))
		}
		return nil
	}
}

// configFlag adds -c FILE.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", configFile, "the configuration `FILE`")
}

// plural gives "1 site", "2 sites".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strings.Join([]string{itoa(n), " ", word, "s"}, "")
}
