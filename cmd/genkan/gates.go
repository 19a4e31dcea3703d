package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"

	"genkan/acl"
	"genkan/cmd/genkan/config"
)

// A gatesState is how the gates of a service stand for one client, in JSON.
type gatesState struct {
	File  string      `json:"file"` // the configuration, as an absolute path
	Gates []gateState `json:"gates"`
}

// A gateState is a "limit" or "conns" rule.
type gateState struct {
	ID     string       `json:"id"` // decimal; the same after a reload that leaves the rule
	Rule   string       `json:"rule"`
	At     acl.Pos      `json:"at"`
	Levels []levelState `json:"levels"` // the narrowest prefix first
}

// A levelState is what counts under one prefix of the client.
type levelState struct {
	Prefix string `json:"prefix"`
	Used   int    `json:"used"`
	Most   int    `json:"most"`
}

// answerGates tells how the gates of ?name= stand for ?client=; of a site with routes, where ?path= leads.
func (f *front) answerGates(w http.ResponseWriter, r *http.Request) {
	query, plan := r.URL.Query(), f.lists.current()
	client, err := acl.ParseAddr(query.Get("client"))
	if err != nil {
		answer(w, nil, refuse(http.StatusBadRequest, "client: %w", err))
		return
	}
	service, err := plan.Service(query.Get("name"))
	if err != nil {
		answer(w, nil, refuse(http.StatusNotFound, "%w", err))
		return
	}
	if path := query.Get("path"); path != "" {
		if service, _, _, err = service.At(path); err != nil {
			answer(w, nil, refuse(http.StatusBadRequest, "path: %w", err))
			return
		}
	}
	file, err := filepath.Abs(plan.File)
	all := gatesState{file, []gateState{}}
	for _, g := range service.Access.Gates(client) {
		one := gateState{ID: strconv.FormatUint(g.ID, 10), Rule: g.Rule, At: g.Pos}
		for _, l := range g.Levels {
			one.Levels = append(one.Levels, levelState(l))
		}
		all.Gates = append(all.Gates, one)
	}
	answer(w, all, err)
}

// runningGates asks the Genkan at a socket how the gates of a service, of a part of it where there is a path, stand for
// a client. Where none runs the same file, or none of the rules is a gate, there is nothing to tell.
func runningGates(ctx context.Context, socket, file string, s config.Service, path string, client acl.Addr) []acl.GateUse {
	if len(s.Access.Gates(client)) == 0 {
		return nil
	}
	query := url.Values{"name": {s.Name}, "client": {client.String()}, "path": {path}}
	text, err := ask(ctx, socket, http.MethodGet, "/v1/gates?"+query.Encode(), nil)
	var state gatesState
	if err != nil || json.Unmarshal(text, &state) != nil || !sameFile(file, state.File) {
		return nil
	}
	var all []acl.GateUse
	for _, g := range state.Gates {
		id, err := strconv.ParseUint(g.ID, 10, 64)
		if err != nil {
			continue // of a later version of Genkan
		}
		one := acl.GateUse{ID: id, Rule: g.Rule, Pos: g.At}
		for _, l := range g.Levels {
			one.Levels = append(one.Levels, acl.LevelUse(l))
		}
		all = append(all, one)
	}
	return all
}
