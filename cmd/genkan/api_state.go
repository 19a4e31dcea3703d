package main

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"genkan/acl"
	"genkan/cmd/genkan/config"
	"genkan/proxy"
)

// A listenerState is one socket that is listened on.
type listenerState struct {
	Network string `json:"network"` // "tcp" or "udp"
	Address string `json:"address"` // with its port
}

// stateRoutes tell how this front stands, and change nothing.
func (f *front) stateRoutes() []route {
	of := func(what func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { answer(w, what(), nil) }
	}
	return []route{
		{"GET /v1/status", of(func() any { return f.state() })},
		{"GET /v1/tunnel", func(w http.ResponseWriter, _ *http.Request) {
			if t := f.state().Tunnel; t != nil {
				answer(w, t, nil)
				return
			}
			answer(w, nil, refuse(http.StatusNotFound, "the configuration has no [tunnel]"))
		}},
		{"GET /v1/listeners", of(func() any { return f.listeners() })},
		{"GET /v1/sites", of(func() any { return f.services("site") })},
		{"GET /v1/forwards", of(func() any { return f.services("forward") })},
		{"GET /v1/rules", of(func() any { return f.proxy.Stats().Rules })},
		{"GET /v1/limits", of(func() any { return f.proxy.Stats().Limits })},
		{"GET /v1/pools", of(func() any { return f.proxy.Stats().Pools })},
		{"GET /v1/certificates", of(func() any { return f.proxy.Stats().Certificates })},
		{"GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
			k, err := keptOf(f.lists.current())
			answer(w, runningFiles{k.Files}, err)
		}},
		{"GET /v1/gates", f.answerGates},
		{"GET /v1/who", f.answerWho},
	}
}

// runningFiles are the files that the running configuration was read from, as they were then: the main one first.
type runningFiles struct {
	Files []config.Source `json:"files"`
}

func (f *front) listeners() []listenerState {
	all := []listenerState{}
	for _, a := range f.proxy.Addrs() {
		all = append(all, listenerState{a.Network(), a.String()})
	}
	slices.SortFunc(all, func(a, b listenerState) int {
		return slices.Compare([]string{a.Network, a.Address}, []string{b.Network, b.Address})
	})
	return all
}

func (f *front) services(kind string) []proxy.ServiceStats {
	return slices.DeleteFunc(f.proxy.Stats().Services, func(s proxy.ServiceStats) bool { return s.Kind != kind })
}

func (f *front) answerWho(w http.ResponseWriter, r *http.Request) {
	query, at := r.URL.Query(), time.Now()
	if text := query.Get("at"); text != "" {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
			answer(w, nil, refuse(http.StatusBadRequest, "at %q is no time; write 2026-11-22T01:00:00Z", text))
			return
		}
	}
	all, err := f.who(query.Get("address"), at)
	answer(w, all, err)
}

// What GET /v1/connections gives at once: unless asked for another number, and at most.
const (
	usualConnections = 100
	mostConnections  = 10_000
)

// A connectionsState is some of the connections that are open.
type connectionsState struct {
	Total       int                `json:"total"`       // that match
	Connections []proxy.Connection `json:"connections"` // the oldest of them
}

// A cutState says how many connections were ended.
type cutState struct {
	Cut int `json:"cut"`
}

// connectionRoutes list the connections of clients and end them.
func (f *front) connectionRoutes() []route {
	return []route{
		{"GET /v1/connections", f.answerConnections},
		{"DELETE /v1/connections", func(w http.ResponseWriter, r *http.Request) {
			text := r.URL.Query().Get("client")
			clients, err := config.ParseEntry(text)
			if err != nil {
				answer(w, nil, refuse(http.StatusBadRequest, "client: %w", err))
				return
			}
			cut := f.proxy.Cut(clients.Contains)
			f.log.Info("connections killed", "client", text, "cut", cut)
			answer(w, cutState{cut}, nil)
		}},
		{"DELETE /v1/connections/{id}", func(w http.ResponseWriter, r *http.Request) {
			id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
			if err != nil || !f.proxy.Kill(id) {
				answer(w, nil, refuse(http.StatusNotFound, "no connection %q is open", r.PathValue("id")))
				return
			}
			f.log.Info("connection killed", "id", id)
			answer(w, cutState{1}, nil)
		}},
	}
}

// answerConnections gives the connections of ?client=, ?kind= and ?name=, at most ?limit= of them.
func (f *front) answerConnections(w http.ResponseWriter, r *http.Request) {
	query, limit := r.URL.Query(), usualConnections
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > mostConnections {
			answer(w, nil, refuse(http.StatusBadRequest, "limit %q is not 0 to %d", text, mostConnections))
			return
		}
		limit = n
	}
	among := func(acl.Addr) bool { return true }
	if text := query.Get("client"); text != "" {
		clients, err := config.ParseEntry(text)
		if err != nil {
			answer(w, nil, refuse(http.StatusBadRequest, "client: %w", err))
			return
		}
		among = clients.Contains
	}
	kind, name := query.Get("kind"), query.Get("name")
	some, all := f.proxy.Connections(func(c proxy.Connection) bool {
		return (kind == "" || kind == c.Kind) && (name == "" || name == c.Name) && among(c.Client)
	}, limit)
	if some == nil {
		some = []proxy.Connection{}
	}
	answer(w, connectionsState{all, some}, nil)
}
