package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"genkan/cmd/genkan/config"
	"genkan/proxy"
)

// A steeredBackend is what the operator wants of a backend, in JSON.
type steeredBackend struct {
	proxy.BackendID
	proxy.Steering
}

// A steeringFile keeps what the operator wants of the backends over a restart and an upgrade. The zero one keeps nothing.
type steeringFile struct {
	mu   sync.Mutex // lets one write at a time
	path string     // "": nowhere
}

// restore has the backends steered as before.
func (s *steeringFile) restore(server *proxy.Server) error {
	if s.path == "" {
		return nil
	}
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []steeredBackend
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	for _, b := range all {
		_, _ = server.Steer(b.BackendID, b.Steering) // one that is not configured any more needs none
	}
	return err
}

// keep writes how the backends are steered.
func (s *steeringFile) keep(server *proxy.Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" {
		return nil
	}
	all := []steeredBackend{}
	for id, want := range server.Steered() {
		all = append(all, steeredBackend{id, want})
	}
	slices.SortFunc(all, func(a, b steeredBackend) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Backend, b.Backend))
	})
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return replaceFile(s.path, append(text, '\n'), 0o600)
}

// restoreSteering steers the backends as the operator has said in this or an earlier process.
func (f *front) restoreSteering() {
	if dir := f.plan.Proxy.StateDir; dir != "" {
		f.steering.path = filepath.Join(dir, "backends.json")
	}
	if err := f.steering.restore(f.proxy); err != nil {
		f.log.Warn("backends that were drained or disabled are not any more", "error", err)
	}
}

// A backendChange asks for a backend to be steered.
type backendChange struct {
	Name    string `json:"name"`    // of its site, route or forward; "KIND/NAME" where two kinds have one of the name
	Backend string `json:"backend"` // as the configuration has it; "" where there is only one
	State   string `json:"state"`   // "active", "drain" or "disable"; "" leaves it
	Weight  int    `json:"weight"`  // 0 leaves it
}

// A backendChanged is how the backend stands now.
type backendChanged struct {
	Backend proxy.BackendStats `json:"backend"`
	Cut     int                `json:"cut"` // connections that were ended
}

// backendRoutes show the backends and steer them.
func (f *front) backendRoutes() []route {
	return []route{
		{"GET /v1/backends", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, distinctBackends(f.proxy.Stats().Backends), nil)
		}},
		{"POST /v1/backends", func(w http.ResponseWriter, r *http.Request) {
			c, err := question[backendChange](w, r)
			var changed backendChanged
			if err == nil {
				changed, err = f.steer(c)
			}
			answer(w, changed, err)
		}},
	}
}

// steer has one backend steered.
func (f *front) steer(c backendChange) (backendChanged, error) {
	b, err := findBackend(distinctBackends(f.proxy.Stats().Backends), c.Name, c.Backend)
	if err != nil {
		return backendChanged{}, err
	}
	want := proxy.Steering{State: cmp.Or(c.State, b.State), Weight: cmp.Or(c.Weight, b.Weight)}
	cut, err := f.proxy.Steer(b.BackendID, want)
	if err != nil {
		return backendChanged{}, err
	}
	if err := f.steering.keep(f.proxy); err != nil {
		f.log.Warn("how backends are steered is not kept over a restart", "error", err)
	}
	b.Steering = want
	return backendChanged{b, cut}, nil
}

// findBackend finds the one that is meant.
func findBackend(all []proxy.BackendStats, name, backend string) (proxy.BackendStats, error) {
	var names, its []string
	var found []proxy.BackendStats
	for _, b := range all {
		if name != b.Name && name != b.Kind+"/"+b.Name {
			names = append(names, b.Name)
			continue
		}
		its = append(its, b.Backend)
		if backend == "" || backend == b.Backend {
			found = append(found, b)
		}
	}
	missing := func(what, text string, there []string) error {
		if near := config.DidYouMean(text, there); near != "" {
			return refuse(http.StatusNotFound, "no %s %q; did you mean %q?", what, text, near)
		}
		return refuse(http.StatusNotFound, "no %s %q; genkan backend list shows them", what, text)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case its == nil:
		return proxy.BackendStats{}, missing("site, route or forward with backends", name, names)
	case found == nil:
		return proxy.BackendStats{}, missing(fmt.Sprintf("backend of %q has the address", name), backend, its)
	case backend == "":
		return proxy.BackendStats{}, fmt.Errorf("%q has several backends; say which: %q", name, its)
	}
	return proxy.BackendStats{}, fmt.Errorf("%q is both a %s and a %s; write %q", name, found[0].Kind, found[1].Kind, found[0].Kind+"/"+name)
}
