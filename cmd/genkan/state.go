package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"genkan/acl"
	"genkan/proxy"
)

// A runState is what a running Genkan tells of itself, in JSON.
type runState struct {
	Version   string        `json:"version"`
	Pid       int           `json:"pid"`
	Since     time.Time     `json:"since"`
	File      string        `json:"file"`
	Listening []string      `json:"listening"`
	Tunnel    *tunnelStatus `json:"tunnel"` // null: there is none
	Proxy     proxy.Stats   `json:"proxy"`
}

// state is what "genkan status" shows.
func (f *front) state() runState {
	s := runState{Version: version, Pid: os.Getpid(), Since: f.since, Proxy: f.proxy.Stats(), Listening: []string{}}
	f.lists.mu.Lock()
	s.File = f.lists.plan.File
	f.lists.mu.Unlock()
	for _, a := range f.proxy.Addrs() {
		s.Listening = append(s.Listening, a.Network()+"/"+a.String())
	}
	slices.Sort(s.Listening)
	if f.tunnel != nil {
		s.Tunnel = &tunnelStatus{Status: f.tunnel.Status(), Pid: s.Pid}
	}
	return s
}

// statusCommand is "genkan status".
func statusCommand(io streams) *cobra.Command {
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [--json]",
		Short: "Say what is going on now",
		Args:  arguments(0, 0, "[--json]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := askRun(cmd.Context(), socket, http.MethodGet, "/status", nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := io.out.Write(text)
				return err
			}
			var s runState
			if err := json.Unmarshal(text, &s); err != nil {
				return err
			}
			s.words(io.out)
			return nil
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// words is the state for people.
func (s runState) words(out io.Writer) {
	fmt.Fprintf(out, "genkan %s, process %d, since %s, by %s\n", s.Version, s.Pid, s.Since.UTC().Format(time.RFC3339), s.File)
	if s.Tunnel != nil {
		fmt.Fprintln(out)
		s.Tunnel.words(out)
	}
	fmt.Fprintf(out, "\nopen %d, accepted %d by IPv4 and %d by IPv6, hostile %d\n",
		s.Proxy.Open, s.Proxy.IPv4.Accepted, s.Proxy.IPv6.Accepted, s.Proxy.IPv4.Hostile+s.Proxy.IPv6.Hostile)
	for _, l := range s.Listening {
		fmt.Fprintf(out, "listens on %s\n", l)
	}
	for _, v := range s.Proxy.Services {
		fmt.Fprintf(out, "%s %s: allowed %d, denied %d, failed %d\n", v.Kind, v.Name, v.Allowed, v.Denied, v.Failed)
	}
	for _, b := range s.Proxy.Backends {
		state := ""
		if b.Down {
			state = ", DOWN"
		}
		fmt.Fprintf(out, "%s %s: backend %s: open %d of %d, %d failed%s\n", b.Kind, b.Name, b.Backend, b.Open, b.Total, b.Failures, state)
	}
	for _, r := range s.Proxy.Rules {
		fmt.Fprintf(out, "%s %s: %q at %s denied %d\n", r.Kind, r.Name, r.Rule, r.Pos, r.Denied)
	}
}

// A tenant is who stands behind a pool address, in JSON.
type tenant struct {
	Pool    string    `json:"pool"`
	Address string    `json:"address"`
	Client  string    `json:"client"` // an IPv6 /64
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"` // use
	Open    int       `json:"open"` // connections
}

// who looks a pool address up, or a client.
func (f *front) who(text string, at time.Time) ([]tenant, error) {
	addr, err := acl.ParseAddr(text)
	if err != nil {
		return nil, err
	}
	f.lists.mu.Lock()
	pools := f.lists.plan.Proxy.Pools
	f.lists.mu.Unlock()
	if len(pools) == 0 {
		return nil, errors.New("the configuration has no pool")
	}
	all := []tenant{}
	for _, cfg := range pools {
		p := f.proxy.Pool(cfg.Name)
		if p == nil {
			continue
		}
		m, found := p.Where(addr)
		if cfg.Prefix.Contains(addr) {
			m, found = p.Who(addr.Netip(), at)
		}
		if found {
			all = append(all, tenant{cfg.Name, m.Addr.String(), m.Client.String(), m.Since, m.Last, m.Open})
		}
	}
	return all, nil
}

// whoCommand is "genkan who".
func whoCommand(io streams) *cobra.Command {
	var socket, when string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "who ADDRESS [--at TIME]",
		Short: "Say which IPv6 clients stand behind a pool address, since when",
		Long: `Who tells which clients (an IPv6 /64) a server sees as this address of a pool, now or at another time; asked for
a client's own address, it tells which one the server sees.`,
		Args: arguments(1, 1, "ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := parseTime(when)
			if err != nil {
				return err
			}
			if at.IsZero() {
				at = time.Now()
			}
			query := url.Values{"address": args, "at": {at.Format(time.RFC3339Nano)}}
			text, err := askRun(cmd.Context(), socket, http.MethodGet, "/who?"+query.Encode(), nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := io.out.Write(text)
				return err
			}
			var all []tenant
			if err := json.Unmarshal(text, &all); err != nil {
				return err
			}
			for _, t := range all {
				fmt.Fprintf(io.out, "%s: %s in pool %s, since %s, last seen %s, %s open\n", t.Client, t.Address, t.Pool,
					t.Since.UTC().Format(time.RFC3339), t.Last.UTC().Format(time.RFC3339), plural(t.Open, "connection"))
			}
			if len(all) == 0 {
				fmt.Fprintf(io.out, "%s: nobody\n", args[0])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().StringVar(&when, "at", "", "at this `TIME`: 2026-11-22T01:00:00Z, or -10m from now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON array")
	return cmd
}

// reloadCommand is "genkan reload".
func reloadCommand(io streams) *cobra.Command {
	var socket string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reload [--dry-run]",
		Short: "Read the configuration again, all of it or nothing",
		Long: `Reload puts the file as it is now in the place of what runs, and shows the difference: "+" comes, "-" goes, "~"
changes. Where the file does not hold, the old configuration goes on and the mistakes are shown. What is open goes on.`,
		Args: arguments(0, 0, "[--dry-run]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/reload"
			if dryRun {
				path += "?dry-run=yes"
			}
			text, err := askRun(cmd.Context(), socket, http.MethodPost, path, nil)
			if err != nil {
				return err
			}
			var lines []string
			if err := json.Unmarshal(text, &lines); err != nil {
				return err
			}
			for _, line := range lines {
				fmt.Fprintln(io.out, line)
			}
			if len(lines) == 0 {
				fmt.Fprintln(io.out, "nothing differs")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show the difference")
	return cmd
}
