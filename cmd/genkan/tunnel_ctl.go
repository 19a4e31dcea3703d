package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"genkan/tunnel"
)

// tunnelAskCommand is a subcommand that puts one question to the owner of a tunnel.
func tunnelAskCommand(use, short, path string, done func(out io.Writer, answer []byte) error, io streams) *cobra.Command {
	var name string
	method := http.MethodPost
	if path == "/status" {
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

func tunnelConfirmCommand(streams streams) *cobra.Command {
	return tunnelAskCommand("confirm", "Keep the tunnel that was brought up with --confirm", "/confirm", func(out io.Writer, _ []byte) error {
		_, err := fmt.Fprintln(out, "The tunnel stays.")
		return err
	}, streams)
}

func tunnelDownCommand(io streams) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "down [--interface NAME]",
		Short: "Take back exactly what \"genkan tunnel up\" made",
		Args:  arguments(0, 0, "[--interface NAME]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := tunnel.Config{Interface: name}
			_, err := askTunnel(cmd.Context(), cfg, http.MethodPost, "/down")
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

func tunnelStatusCommand(streams streams) *cobra.Command {
	var asJSON bool
	cmd := tunnelAskCommand("status [--json]", "Say what the tunnel is and has done", "/status", func(out io.Writer, answer []byte) error {
		if asJSON {
			_, err := out.Write(answer)
			return err
		}
		var s tunnelStatus
		if err := json.Unmarshal(answer, &s); err != nil {
			return fmt.Errorf("the tunnel's process answers what cannot be read: %w", err)
		}
		s.words(out)
		return nil
	}, streams)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// words is the status for people.
func (s tunnelStatus) words(out io.Writer) {
	fmt.Fprintf(out, "interface  %s, %s %s, %s datapath, MTU %d\n", s.Interface, s.Kind, s.Role, s.Datapath, s.MTU)
	for _, why := range s.Fallback {
		fmt.Fprintf(out, "           not %s\n", why)
	}
	fmt.Fprintf(out, "address    %s in %s, from %s\n", s.Address, s.Delegated, s.Local)
	for _, r := range s.Relays {
		fmt.Fprintf(out, "relay      %s\n", r)
	}
	fmt.Fprintf(out, "exposes    %s, filter %s\n", s.Expose, s.Filter)
	fmt.Fprintf(out, "since      %s, process %d, made again %d times\n", s.Since.Format(time.RFC3339), s.Pid, s.Remade)
	fmt.Fprintf(out, "received   %d packets, %d bytes\n", s.Received.Packets, s.Received.Bytes)
	fmt.Fprintf(out, "sent       %d packets, %d bytes\n", s.Sent.Packets, s.Sent.Bytes)
	reasons := make([]string, 0, len(s.Drops))
	for reason, n := range s.Drops {
		if n > 0 {
			reasons = append(reasons, reason)
		}
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		fmt.Fprintf(out, "dropped    %d %s\n", s.Drops[reason], reason)
	}
	if s.ConfirmUntil != nil {
		fmt.Fprintf(out, "waits      for \"genkan tunnel confirm\" until %s\n", s.ConfirmUntil.Format(time.RFC3339))
	}
}
