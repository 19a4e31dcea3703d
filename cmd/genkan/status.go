package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
			text, err := askRun(cmd.Context(), socket, http.MethodGet, "/v1/status", nil)
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
		if _, words := backendWords(b); words != "up" {
			state = ", " + words
		}
		fmt.Fprintf(out, "%s %s: backend %s: open %d of %d, %d failed%s\n", b.Kind, b.Name, b.Backend, b.Open, b.Total, b.Failures, state)
	}
	for _, c := range s.Proxy.Certificates {
		fmt.Fprintln(out, certificateWords(c, time.Now()))
	}
	for _, r := range s.Proxy.Rules {
		if r.Denied+r.Gated > 0 {
			fmt.Fprintf(out, "%s %s: %s denied %d\n", r.Kind, r.Name, ruleAt(r.Tally), r.Denied+r.Gated)
		}
	}
}

// ruleAt is a rule and its place, or the default.
func ruleAt(t acl.Tally) string {
	if t.Rule == "" {
		return "no rule matched, the default"
	}
	return fmt.Sprintf("%q at %s", t.Rule, t.Pos)
}
