package main

import (
	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// runCommand is "genkan run": the daemon.
func runCommand(io streams) *cobra.Command {
	var file, socket string
	var replace bool
	var logs logFlags
	hub := &logHub{}
	cmd := &cobra.Command{
		Use:   "run [-c FILE]",
		Short: "Run as the configuration says, until SIGTERM",
		Long: `Run brings the tunnel up, opens all listeners and serves, or ends with the reason and nothing left behind.
SIGHUP reads the configuration again: all of the new one holds, or the old one goes on and the log says why.
SIGUSR2 is "genkan upgrade" without a binary. Sockets of systemd (LISTEN_FDS) are taken where the file listens there.
SIGTERM and SIGINT let what is open finish and undo everything; a second one ends at once.`,
		Args: arguments(0, 0, "[-c FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, closeLog, err := logs.logger(io.err, hub)
			if err != nil {
				return err
			}
			defer closeLog()
			if mayConfine() {
				if err := confine(config.SketchOf(file), socket, log); err != nil {
					return err
				}
			}
			from, err := inherit()
			if err != nil {
				return err
			}
			defer from.closeRest()
			plan, err := config.Load(file, config.Options{Log: log})
			if err != nil {
				from.failed(err)
				return err
			}
			if plan.Tunnel != nil {
				plan.Tunnel.Replace = replace
			}
			log = log.With("front", hostname())
			// Only the front has the plan: what else did would keep it in memory beside the next one, for ever.
			f := &front{plan: plan, log: log, out: underlying(io.out), reloads: true, socket: socket, from: from, logs: hub}
			return untilSignal(cmd.Context(), log, closeLog, f.serve)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&socket, "socket", runSocket, "answer subcommands at this `SOCKET`")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace an interface of the tunnel's name, and stand before an IPv6 default route that exists")
	logs.add(cmd)
	return cmd
}
