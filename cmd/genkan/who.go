package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"genkan/acl"
)

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
		m, found := p.Where(addr, at)
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
a client's own address, it tells which one the server sees, or saw then. Times are
exact to the second.`,
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
			text, err := askRun(cmd.Context(), socket, http.MethodGet, "/v1/who?"+query.Encode(), nil)
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
