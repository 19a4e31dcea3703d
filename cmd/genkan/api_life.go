package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
)

// errStopping is for those who ask a process that ends.
var errStopping = refuse(http.StatusServiceUnavailable, "this Genkan is stopping")

// A reloaded is what a reload has changed, or would.
type reloaded struct {
	Changes []string `json:"changes"` // "+ site …" comes, "- …" goes, "~ …" changes
}

// A rolledBack is what a rollback has written, or would.
type rolledBack struct {
	Files []string `json:"files"` // "+ PATH" comes, "- PATH" goes, "~ PATH" changes
	reloaded
}

// lifeRoutes change what runs as a whole.
func (f *front) lifeRoutes() []route {
	return []route{
		{"POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
			done, err := f.askReload(r.Context(), isDryRun(r))
			answer(w, done, err)
		}},
		{"POST /v1/rollback", func(w http.ResponseWriter, r *http.Request) {
			done, err := f.rollBack(r.Context(), isDryRun(r))
			answer(w, done, err)
		}},
		{"POST /v1/upgrade", f.answerUpgrade},
		{"GET /v1/logs", f.answerLogs},
	}
}

func isDryRun(r *http.Request) bool { return r.URL.Query().Get("dry_run") == "true" }

// askReload has the configuration read again, and waits for it.
func (f *front) askReload(ctx context.Context, dryRun bool) (reloaded, error) {
	done := make(chan reloadDone, 1)
	select {
	case f.asked <- reloadAsked{dryRun, done}:
		d := <-done
		if d.diff == nil {
			d.diff = []string{}
		}
		return reloaded{d.diff}, d.err
	case <-f.ended:
		return reloaded{}, errStopping
	case <-ctx.Done():
		return reloaded{}, ctx.Err()
	}
}

// rollBack is "genkan rollback" by this process, where that may write the files.
func (f *front) rollBack(ctx context.Context, dryRun bool) (rolledBack, error) {
	stateDir := f.lists.current().Proxy.StateDir
	if stateDir == "" {
		return rolledBack{}, errors.New("the configuration has no state_dir: nothing was kept")
	}
	var steps bytes.Buffer
	r := rollback{archive: archiveIn(stateDir), out: &steps, dryRun: dryRun}
	if err := r.run(); err != nil {
		return rolledBack{}, err
	}
	done := rolledBack{Files: []string{}, reloaded: reloaded{[]string{}}}
	for line := range strings.Lines(steps.String()) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > 2 && strings.Contains("+-~", line[:1]) {
			done.Files = append(done.Files, line)
		}
	}
	if dryRun || !r.changed {
		return done, nil
	}
	var err error
	done.reloaded, err = f.askReload(ctx, false)
	return done, err
}
