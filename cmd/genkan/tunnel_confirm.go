package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"genkan/tunnel"
)

// tunnelConfirmCommand is "genkan tunnel confirm".
func tunnelConfirmCommand(streams streams) *cobra.Command {
	return tunnelAskCommand("confirm", "Keep the tunnel that was brought up with --confirm", "/v1/tunnel/confirm", func(out io.Writer, _ []byte) error {
		_, err := fmt.Fprintln(out, "The tunnel stays.")
		return err
	}, streams)
}

// tunnelAskCommand is a subcommand that puts one question to the owner of a tunnel.
func tunnelAskCommand(use, short, path string, done func(out io.Writer, answer []byte) error, io streams) *cobra.Command {
	var name string
	method := http.MethodPost
	if path == "/v1/tunnel" {
		method = http.MethodGet
	}
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := tunnel.CheckInterface(name); err != nil {
				return err
			}
			cfg := tunnel.Config{Interface: name}
			answer, err := askTunnel(cmd.Context(), cfg, method, path)
			if errors.Is(err, errNoTunnel) {
				return nobodyKept(cfg)
			}
			if err != nil {
				return err
			}
			return done(io.out, answer)
		},
	}
	cmd.Flags().StringVar(&name, "interface", tunnel.DefaultInterface, "the interface's `NAME`")
	return cmd
}

// nobodyKept tells a host without a tunnel from one where the process that kept it was killed: what it made stands, may
// go on forwarding, and nobody heals it, or takes it back when a confirmation does not come.
func nobodyKept(cfg tunnel.Config) error {
	pid, err := tunnel.LeftBy(cfg)
	switch {
	case err != nil:
		return err
	case pid == 0:
		return errNoTunnel
	}
	return fmt.Errorf("%s stands, or what is left of it, and process %d, which made it, is gone; write genkan tunnel up to go on with it, or genkan tunnel down to take it back",
		cfg.Interface, pid)
}
