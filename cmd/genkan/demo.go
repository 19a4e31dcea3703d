package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"genkan/integration/lab/demo"
)

// demoCommand is "genkan demo": the whole thing in network namespaces of this machine.
func demoCommand(io streams) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo [--once]",
		Short: "Show the whole thing in network namespaces on this machine (root)",
		Long: `Demo builds a small Internet of network namespaces: an IPv6-only client, a 6rd border relay, an IPv4-only
path, this program, and an IPv4-only server behind it. It shows what happens at each hop, and stays up for you to
try more until Ctrl-C. With --once it ends after the show, with status 0 only if every hop did its part.`,
		Args: arguments(0, 0, "[--once]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			return untilSignal(cmd.Context(), slog.New(slog.DiscardHandler), func() {}, func(ctx context.Context) error {
				return demo.Run(ctx, demo.Config{Program: program, Once: once, Color: isTerminal(io.out), Out: io.out})
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the show")
	return cmd
}
