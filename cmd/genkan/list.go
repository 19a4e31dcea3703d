package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"genkan/acl"
	"genkan/cmd/genkan/config"
)

// listCommand is "genkan list": bans and lists of the running Genkan.
func listCommand(io streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Bans and lists of the running Genkan",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var socket string
	cmd.PersistentFlags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.AddCommand(listShowCommand(io, &socket), listAddCommand(io, &socket), listDelCommand(io, &socket))
	return cmd
}

func listShowCommand(io streams, socket *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show the lists, and what was added to them",
		Args:  arguments(0, 1, "[NAME]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/lists"
			if len(args) == 1 {
				path += "?name=" + url.QueryEscape(args[0])
			}
			text, err := askRun(cmd.Context(), *socket, http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := io.out.Write(text)
				return err
			}
			var all listsState
			if err := json.Unmarshal(text, &all); err != nil {
				return err
			}
			for _, l := range all.Lists {
				l.words(io.out)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (l listState) words(out io.Writer) {
	fmt.Fprintf(out, "%s: %s", l.Name, plural(l.Entries, "span"))
	if l.Path != "" {
		fmt.Fprintf(out, " from %s", l.Path)
	}
	fmt.Fprintln(out)
	if l.Error != "" {
		fmt.Fprintf(out, "  the file as it is now is not in force: %s\n", l.Error)
	}
	for _, e := range l.Added {
		fmt.Fprintf(out, "  added: %s %s\n", e.Entry, e.ends())
	}
}

func (e addedEntry) ends() string {
	if e.Until == nil {
		return "for good"
	}
	return "until " + e.Until.UTC().Format(time.RFC3339)
}

func listAddCommand(io streams, socket *string) *cobra.Command {
	var c listChange
	cmd := &cobra.Command{
		Use:   "add NAME ENTRY [--for 1h] [--cut]",
		Short: "Add an address, prefix or range to a list at run time",
		Long: `Add puts an entry into a list of the running Genkan. It holds at once, is kept over restarts, and ends after
--for, or never without it. What is open goes on unless --cut ends the connections of those clients.

A list of an included file is named with that file, as seen from the main file's folder: sites/a.toml:blocked.`,
		Args: arguments(2, 2, "NAME ENTRY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Entry = args[1]
			changed, err := askChange[listChanged](cmd.Context(), *socket, http.MethodPost, entriesOf(args[0]), c)
			if err != nil {
				return err
			}
			fmt.Fprintf(io.out, "%s: added %s %s\n", args[0], changed.Entry, changed.ends())
			if c.Cut {
				fmt.Fprintf(io.out, "%s cut\n", plural(changed.Cut, "connection"))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&c.For, "for", "", "how long it holds, as `1h` or 7d; without it for good")
	cmd.Flags().BoolVar(&c.Cut, "cut", false, "end the open connections of these clients")
	return cmd
}

func listDelCommand(io streams, socket *string) *cobra.Command {
	return &cobra.Command{
		Use:   "del NAME ENTRY",
		Short: "Take an entry away that was added at run time",
		Args:  arguments(2, 2, "NAME ENTRY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := entriesOf(args[0]) + "?entry=" + url.QueryEscape(args[1])
			text, err := askRun(cmd.Context(), *socket, http.MethodDelete, path, nil)
			var changed listChanged
			if err == nil {
				err = json.Unmarshal(text, &changed)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(io.out, "%s: took away %s\n", args[0], changed.Entry)
			return nil
		},
	}
}

// runningBans gives a plan's lists the entries that were added to them at run time, where a Genkan runs the same file.
// The error is that of one which runs and does not tell.
func runningBans(ctx context.Context, socket string, plan *config.Plan) error {
	text, err := ask(ctx, socket, http.MethodGet, "/v1/lists", nil)
	if errors.Is(err, errNobody) {
		return nil
	}
	var all listsState
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || !sameFile(plan.File, all.File) {
		return err
	}
	for _, state := range all.Lists {
		one := plan.Named[state.Name]
		if one == nil {
			continue
		}
		var entries []acl.Entry
		for _, a := range state.Added {
			r, err := config.ParseEntry(a.Entry)
			if err != nil {
				continue // of a later version of Genkan
			}
			e := acl.Entry{Range: r}
			if a.Until != nil {
				e.Until = *a.Until
			}
			entries = append(entries, e)
		}
		one.SetEntries(entries, time.Now())
	}
	return nil
}

// sameFile reports whether two paths, the second from a running Genkan, lead to one file.
func sameFile(ours, theirs string) bool {
	if abs, err := filepath.Abs(ours); err == nil && abs == theirs {
		return true
	}
	a, err := os.Stat(ours)
	if err != nil {
		return false
	}
	b, err := os.Stat(theirs)
	return err == nil && os.SameFile(a, b)
}

// entriesOf is where the entries of a list are.
func entriesOf(list string) string { return "/v1/lists/" + url.PathEscape(list) + "/entries" }
