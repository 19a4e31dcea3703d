package main

import (
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
			answer, err := askTunnel(cmd.Context(), tunnel.Config{Interface: name}, method, path)
			if err != nil {
				return err
			}
			return done(io.out, answer)
		},
	}
	cmd.Flags().StringVar(&name, "interface", tunnel.DefaultInterface, "the interface's `NAME`")
	return cmd
}
