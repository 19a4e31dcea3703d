package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"genkan/acl"
	"genkan/cmd/genkan/config"
	"genkan/proxy"
	"genkan/tunnel"
)

// A keeper owns a tunnel that "genkan tunnel up" brought up: a process of its own, so that the tunnel heals, and a
// deadline for confirmation fires, though the shell that asked for it is gone.
type keeper struct {
	plan    *config.Plan
	log     *slog.Logger
	confirm time.Duration // 0: needs no confirmation
	ready   func(error)   // tells the asker, once

	tunnel *tunnel.Tunnel
	stop   context.CancelCauseFunc // ends keep
	down   chan struct{}           // closed once all is taken back; err is set before
	err    error

	mu       sync.Mutex // guards deadline and until
	deadline *time.Timer
	until    time.Time // zero: confirmed, or no need to
}

var errUnconfirmed = errors.New("not confirmed in time: taken down again")

// keep brings the tunnel up and keeps it until ctx ends, somebody asks for its end, or the deadline passes.
func (k *keeper) keep(ctx context.Context) error {
	ctx, k.stop = context.WithCancelCause(ctx)
	defer k.stop(nil)
	k.down = make(chan struct{})
	if err := k.up(ctx); err != nil {
		k.ready(err)
		return err
	}
	control, err := startControl(controlSocket(*k.plan.Tunnel), nil, k.answers())
	if err != nil {
		err = errors.Join(err, k.tunnel.Close())
		k.ready(err)
		return err
	}
	if k.confirm > 0 {
		k.mu.Lock()
		k.until = time.Now().Add(k.confirm)
		k.deadline = time.AfterFunc(k.confirm, func() { k.stop(errUnconfirmed) })
		k.mu.Unlock()
	}
	k.ready(nil)
	served := k.tunnel.Serve(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errUnconfirmed) {
		k.log.Warn(cause.Error(), "waited", k.confirm)
	}
	k.err = errors.Join(served, k.tunnel.Close())
	close(k.down)
	return errors.Join(k.err, control.close())
}

// up brings the tunnel up and lets the listeners of the plan in.
func (k *keeper) up(ctx context.Context) error {
	cfg := *k.plan.Tunnel
	cfg.Log = k.log
	t, err := tunnel.Up(ctx, cfg)
	if err != nil {
		return err
	}
	ports, err := planPorts(k.plan, acl.AddrFrom(t.Address()))
	if err == nil {
		err = t.SetPorts(ports)
	}
	if err != nil {
		return errors.Join(err, t.Close())
	}
	k.tunnel = t
	return nil
}

// planPorts are the ports that the sites and forwards of a plan listen on through the tunnel.
func planPorts(plan *config.Plan, address acl.Addr) ([]tunnel.Port, error) {
	cfg := plan.Proxy
	cfg.Tunnel = address
	server, err := proxy.New(cfg)
	if err != nil {
		return nil, err
	}
	return tunnelPorts(server), nil
}

// answers is what the keeper does when asked.
func (k *keeper) answers() http.Handler {
	status := func(w http.ResponseWriter, _ *http.Request) {
		s := tunnelStatus{Status: k.tunnel.Status(), Pid: os.Getpid()}
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.until.IsZero() {
			until := k.until
			s.ConfirmUntil = &until
		}
		answer(w, s, nil)
	}
	confirm := func(w http.ResponseWriter, _ *http.Request) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.deadline == nil || !k.deadline.Stop() {
			answer(w, nil, errors.New("nothing waits for a confirmation"))
			return
		}
		k.deadline, k.until = nil, time.Time{}
		k.log.Info("confirmed: the tunnel stays")
	}
	down := func(w http.ResponseWriter, _ *http.Request) {
		k.stop(nil)
		<-k.down
		if k.err != nil {
			answer(w, nil, refuse(http.StatusInternalServerError, "not all could be taken back: %w", k.err))
		}
	}
	return serveRoutes([]route{
		{"GET /v1/tunnel", status},
		{"POST /v1/tunnel/confirm", confirm},
		{"POST /v1/tunnel/down", down},
	})
}
