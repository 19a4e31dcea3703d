package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"genkan/tunnel"
)

// tunnelDownCommand is "genkan tunnel down".
func tunnelDownCommand(io streams) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "down [--interface NAME]",
		Short: "Take back exactly what \"genkan tunnel up\" made",
		Args:  arguments(0, 0, "[--interface NAME]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := tunnel.CheckInterface(name); err != nil {
				return err
			}
			cfg := tunnel.Config{Interface: name}
			_, err := askTunnel(cmd.Context(), cfg, http.MethodPost, "/v1/tunnel/down")
			if errors.Is(err, errNoTunnel) {
				err = takeDown(cfg)
			}
			if err == nil {
				fmt.Fprintln(io.out, "The tunnel is down.")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&name, "interface", tunnel.DefaultInterface, "the interface's `NAME`")
	return cmd
}

// dyingPatience bounds how long a killed process may take to be gone.
const dyingPatience = 3 * time.Second

// takeDown takes back what a process that was killed has left.
func takeDown(cfg tunnel.Config) error {
	found, err := tunnel.TakeDown(cfg)
	for end := time.Now().Add(dyingPatience); err != nil && time.Now().Before(end); found, err = tunnel.TakeDown(cfg) {
		time.Sleep(100 * time.Millisecond) // a process that was killed a moment ago still owns it
	}
	if !found && err == nil {
		return errNoTunnel
	}
	if gone := os.Remove(controlSocket(cfg)); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
