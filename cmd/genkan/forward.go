package main

import (
	"context"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// forwardCommand is "genkan forward": one forward without a file.
func forwardCommand(io streams) *cobra.Command {
	var quick config.Quick
	var logs logFlags
	cmd := &cobra.Command{
		Use:   "forward LISTEN BACKEND [--allow PREFIX]… [--deny PREFIX]…",
		Short: "Forward one port, without a configuration file",
		Long: `Forward takes clients at LISTEN to the IPv4 server BACKEND:

    genkan forward '[::]:8080' 192.0.2.10:80          IPv6 clients only
    genkan forward :8080 192.0.2.10:80                clients of both families
    genkan forward udp/:5000 192.0.2.10:5000          UDP

Rules are read in the order of the command line and the first that matches decides. Where there is an --allow,
all others are denied; with --deny alone, all others may enter. Ports from 1024 on need no privilege.`,
		Args: arguments(2, 2, "LISTEN BACKEND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			log, closeLog, err := logs.logger(io.err, nil)
			if err != nil {
				return err
			}
			defer closeLog()
			quick.Listen, quick.To = args[0], args[1]
			plan, err := quick.Plan()
			if err != nil {
				return err
			}
			return untilSignal(cmd.Context(), log, closeLog, func(ctx context.Context) error {
				return (&front{plan: plan, log: log}).serve(ctx)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(&ruleFlag{"allow", &quick.Rules}, "allow", "let clients of this prefix, address or range in; may be repeated")
	flags.Var(&ruleFlag{"deny", &quick.Rules}, "deny", "keep clients of this prefix, address or range out; may be repeated")
	flags.StringArrayVar(&quick.Announce, "announce", nil, "tell the server the client: `proxy-v1 or proxy-v2`")
	flags.BoolVar(&quick.AllowOpenRelay, "allow-open-relay", false, "mail and DNS servers may take every client for this machine")
	logs.add(cmd)
	return cmd
}

// A ruleFlag adds rules to one list, so that --allow and --deny keep their order.
type ruleFlag struct {
	verb  string
	rules *[]string
}

func (f *ruleFlag) String() string { return "" }
func (f *ruleFlag) Type() string   { return "PREFIX" }
func (f *ruleFlag) Set(text string) error {
	*f.rules = append(*f.rules, f.verb+" "+text)
	return nil
}
