package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"genkan/acl"
	"genkan/cmd/genkan/config"
)

// An explanation is the answer of "genkan explain" in JSON.
type explanation struct {
	Client  string `json:"client"` // the canonical address that was judged
	Verdict string `json:"verdict"`
	Rule    string `json:"rule"` // "" where no rule decided
	File    string `json:"file"`
	Line    int    `json:"line"`
	Why     string `json:"why"`
	Shadow  bool   `json:"shadow,omitempty"` // the verdict is counted and logged, not obeyed
	Steps   []step `json:"steps,omitempty"`  // with --steps: every rule that was read, in order; the last decides
}

// A step is one rule as it was read.
type step struct {
	Rule   string `json:"rule"` // "" for the default
	File   string `json:"file"`
	Line   int    `json:"line"`
	Result string `json:"result"` // "no match", "passes" (a gate below its bound), "allow", "deny"
	Why    string `json:"why"`
}

// explainCommand is "genkan explain": which rule decides for a client. It asks the function that the daemon asks.
func explainCommand(io streams) *cobra.Command {
	var file, tunnel, when, socket, newer, path string
	var w way
	var asJSON, withSteps bool
	cmd := &cobra.Command{
		Use:   "explain [-c FILE] [--json] SITE-OR-FORWARD CLIENT",
		Short: "Say which rule decides for a client, and where it is written",
		Long: `Explain asks the same function as the daemon which rule decides for a client of a site or forward.
The exit status is 0 where the rules let the client in and 3 where not, also in shadow mode. Where a Genkan runs with the same file, bans and what
gates have counted are as they stand there.

A client behind a proxy is told by --peer and --via:
    genkan explain www.example.jp --peer 10.9.0.1 --via 'X-Forwarded-For: 2001:db8::7, 10.9.0.2'

Before new rules are put in force, a log shows whom they would meet:
    genkan explain www.example.jp --compare new.toml < access.log`,
		Args: arguments(1, 2, "SITE-OR-FORWARD CLIENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := loadBeside(cmd.Context(), file)
			if err != nil {
				return err
			}
			if err := runningBans(cmd.Context(), socket, plan); err != nil {
				fmt.Fprintf(io.err, "warning: bans and counts are not those of the Genkan that runs: %v\n", err)
			}
			service, err := plan.Service(args[0])
			if err != nil {
				return err
			}
			at, err := parseTime(when)
			if err != nil {
				return err
			}
			if newer != "" {
				if len(args) == 2 || w.peer != "" || w.via != nil || when != "" || cmd.Flags().Changed("tunnel") {
					return usagef("--compare judges the clients of the log on standard input; leave CLIENT, --peer, --via, --tunnel and --at out")
				}
				return compare(io, plan, service, path, newer, asJSON)
			}
			if w.client = ""; len(args) == 2 {
				w.client = args[1]
			}
			if w.client == "" && w.peer == "" {
				return usagef("too few arguments; write %s SITE-OR-FORWARD CLIENT", cmd.CommandPath())
			}
			answer, err := explainAt(service, path, w, tunnel, at, func(part config.Service, client acl.Addr) []acl.GateUse {
				return runningGates(cmd.Context(), socket, plan.File, part, path, client)
			})
			if err != nil {
				return err
			}
			if asJSON && !withSteps {
				answer.Steps = nil
			}
			return answer.print(io, asJSON)
		},
	}
	configFlag(cmd, &file)
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "one JSON object")
	flags.BoolVar(&withSteps, "steps", false, "with --json: every rule that was read, too")
	flags.StringVar(&socket, "socket", runSocket, "take bans, and what gates have counted, from the running Genkan at this `SOCKET`, where it has the same configuration")
	flags.StringVar(&newer, "compare", "", "say whose verdict another configuration `FILE` would change, of the clients in the log on standard input")
	flags.StringVar(&path, "path", "", "of a site with routes: the `PATH` that the client asks for")
	flags.StringVar(&w.peer, "peer", "", "the `ADDRESS` of the proxy at the socket's other end, where it is not the client")
	flags.StringArrayVar(&w.via, "via", nil, "a `LINE` that the peer sends: \"X-Forwarded-For: …\" or \"PROXY TCP6 …\"; may be repeated")
	flags.StringVar(&when, "at", "", "judge as at this `TIME`, for bans that end: 2026-11-22T01:00:00Z, or +10m from now")
	flags.StringVar(&tunnel, "tunnel", "auto", "whether the client came through the tunnel: `true, false or auto`, which is true for IPv6 clients where the tunnel is listened on")
	return cmd
}

// parseTime reads --at; the zero time is now.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if later, err := acl.ParseDuration(text); err == nil {
		return time.Now().Add(later), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usagef("--at %q: write a time as 2026-11-22T01:00:00Z, or +10m or -10m from now", text)
	}
	return at, nil
}

func checkPath(path string) error {
	if path != "" && path[0] != '/' {
		return usagef("--path %q: write a path that begins with \"/\"", path)
	}
	return nil
}

// A gatekeeper tells how the gates of a service stand for a client; nil: nobody has come yet.
type gatekeeper func(config.Service, acl.Addr) []acl.GateUse

// explainAt judges one client of the part of a service that a path means, where one is given.
func explainAt(s config.Service, path string, w way, tunnel string, at time.Time, gates gatekeeper) (explanation, error) {
	if path == "" {
		return explain(s, w, tunnel, at, gates)
	}
	if err := checkPath(path); err != nil {
		return explanation{}, err
	}
	part, route, pos, err := s.At(path)
	if err != nil {
		return explanation{Client: cmp.Or(w.client, w.peer), Verdict: "deny", Why: "answered with 400, as of the " + err.Error(), Steps: []step{}}, nil
	}
	answer, err := explain(part, w, tunnel, at, gates)
	if err == nil && route != "" {
		answer.Steps = append([]step{{route, pos.File, pos.Line, "matches", fmt.Sprintf("the path is %q", path)}}, answer.Steps...)
	}
	return answer, err
}

// explain judges one client.
func explain(s config.Service, w way, tunnel string, at time.Time, gates gatekeeper) (explanation, error) {
	addr, peer, err := w.resolve(s)
	var refused refusal
	switch {
	case errors.As(err, &refused):
		return explanation{Client: cmp.Or(w.peer, w.client), Verdict: "deny", Why: refused.Error(), Steps: []step{}}, nil
	case err != nil:
		return explanation{}, err
	}
	client := acl.Client{Addr: addr}
	switch tunnel {
	case "true":
		client.Tunnel = true
	case "false":
	case "auto":
		// What the tunnel has checked is the peer's address, not that of a client behind it.
		client.Tunnel = addr.Is6() && s.OnTunnel && addr == peer
	default:
		return explanation{}, usagef("--tunnel %q: write true, false or auto", tunnel)
	}
	e := s.Access.Explain(client, at, gates(s, addr))
	if entry := s.Entry(e.List, e.Listed); entry != "" {
		e.Verdict.Why += " (" + entry + ")"
		e.Steps[len(e.Steps)-1].Why = e.Verdict.Why
	}
	answer := asked(e)
	answer.Shadow = s.Shadow
	return answer, nil
}

// asked writes the answer of the rules down.
func asked(e acl.Explanation) explanation {
	answer := written(e.Client.Addr, e.Verdict)
	for _, s := range e.Steps {
		answer.Steps = append(answer.Steps, step{s.Rule, s.Pos.File, s.Pos.Line, s.Result, s.Why})
	}
	return answer
}

func (e explanation) print(io streams, asJSON bool) error {
	if asJSON {
		if err := writeJSON(io.out, e); err != nil {
			return err
		}
	} else {
		e.words(io.out)
	}
	if e.Verdict == "deny" {
		return exit(3)
	}
	return nil
}

// words is the answer for people: the rules as they were read, then the verdict.
func (e explanation) words(out io.Writer) {
	for _, s := range e.Steps {
		if s.Rule == "" {
			continue
		}
		fmt.Fprintf(out, "%s:%d: %q: %s", s.File, s.Line, s.Rule, s.Result)
		if s.Why != "" {
			fmt.Fprintf(out, ", as %s", s.Why)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%s: %s", e.Client, e.short())
	if e.Shadow && e.Verdict == "deny" {
		fmt.Fprint(out, "; it enters all the same, by mode = \"shadow\"")
	}
	fmt.Fprintln(out)
}
