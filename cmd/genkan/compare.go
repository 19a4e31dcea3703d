package main

import (
	"fmt"
	"time"

	"genkan/acl"
	"genkan/cmd/genkan/config"
)

// A comparison is what another configuration would make of the clients in a log, in JSON.
type comparison struct {
	Lines   int      `json:"lines"`   // of the log that name a client
	Skipped int      `json:"skipped"` // and that do not
	Clients int      `json:"clients"`
	Changes []change `json:"changes"` // the most frequent first
}

// A change is a client whose verdict would be another.
type change struct {
	Client string      `json:"client"`
	Lines  int         `json:"lines"`
	Before explanation `json:"before"`
	After  explanation `json:"after"`
}

// compare reads a log from standard input and says whose verdict changes from one file to the other, for a service or,
// with a path, the part of it that this means.
func compare(io streams, now *config.Plan, before config.Service, path, file string, asJSON bool) error {
	plan, err := config.Load(file, config.Options{})
	if err != nil {
		return err
	}
	for name, one := range plan.Named { // what was added at run time stays in a reload
		if l := now.Named[name]; l != nil {
			one.SetEntries(l.Entries(), time.Now())
		}
	}
	after, err := plan.Service(before.Name)
	if err != nil {
		return err
	}
	if path != "" {
		if err := checkPath(path); err != nil {
			return err
		}
		if before, _, _, err = before.At(path); err != nil {
			return usagef("--path %q: %w", path, err)
		}
		if after, _, _, err = after.At(path); err != nil {
			return usagef("--path %q: %w", path, err)
		}
	}
	c, err := acl.Compare(before.Access, after.Access, io.in)
	if err != nil {
		return err
	}
	out := comparison{Lines: c.Lines, Skipped: c.Skipped, Clients: c.Clients, Changes: []change{}}
	for _, x := range c.Changes {
		out.Changes = append(out.Changes, change{x.Client.String(), x.Lines, written(x.Client, x.Before), written(x.Client, x.After)})
	}
	if asJSON {
		return writeJSON(io.out, out)
	}
	fmt.Fprintf(io.out, "%s, %s: %s would change\n", plural(out.Lines, "line"), plural(out.Clients, "client"), plural(len(out.Changes), "verdict"))
	if out.Skipped > 0 {
		fmt.Fprintf(io.out, "%s without a client\n", plural(out.Skipped, "line"))
	}
	for _, x := range out.Changes {
		fmt.Fprintf(io.out, "%s (%s): %s; then %s\n", x.Client, plural(x.Lines, "line"), x.Before.short(), x.After.short())
	}
	return nil
}

// short is a verdict in a few words, without the client.
func (e explanation) short() string {
	if e.Rule == "" {
		return e.Verdict + ", as " + e.Why
	}
	return fmt.Sprintf("%s by %q at %s:%d", e.Verdict, e.Rule, e.File, e.Line)
}

// written is a verdict in the shape of an explanation.
func written(client acl.Addr, v acl.Verdict) explanation {
	e := explanation{Client: client.String(), Verdict: "deny", Rule: v.Rule, File: v.Pos.File, Line: v.Pos.Line, Why: v.Why, Steps: []step{}}
	if v.Allow {
		e.Verdict = "allow"
	}
	return e
}
