package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"genkan/cmd/genkan/config"
	"genkan/tunnel"
)

// watch follows what changes while the front serves, until ctx ends: SIGHUP reads the file again, and the tunnel's
// listeners move with its address. Signals that come during a reload are one further reload.
func (f *front) watch(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	if f.reloads {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	var moves <-chan tunnel.Change
	if f.tunnel != nil {
		moves = f.tunnel.Changes()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			f.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
			f.reload(ctx)
			f.notify(daemon.SdNotifyReady)
		case c := <-moves:
			if err := f.apply(f.plan); err != nil {
				f.log.Error("listeners do not follow the tunnel", "address", c.Address, "error", err)
				continue
			}
			f.log.Info("listeners follow the tunnel", "address", c.Address, "delegated", c.Delegated)
		}
	}
}

// reload puts the file as it is now in the place of what runs, all of it or nothing.
func (f *front) reload(ctx context.Context) {
	plan, err := config.Load(f.plan.File, config.Options{Limits: f.plan.Env.Limits, Log: f.log})
	if err == nil {
		err = f.replace(ctx, plan)
	}
	var mistakes config.Mistakes
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes {
			f.log.Error("reload refused, the old configuration goes on: "+m.Msg, "at", m.Pos.String())
		}
	case err != nil:
		f.log.Error("reload refused, the old configuration goes on", "error", err)
	default:
		f.log.Info("reloaded", "file", plan.File, "holds", summary(plan))
	}
}

var errTunnelDiffers = errors.New("[tunnel] is another one now, and a tunnel is not changed under its connections; restart for that")

// replace applies a plan, or leaves all as it was.
func (f *front) replace(ctx context.Context, plan *config.Plan) error {
	if spell(plan.Tunnel) != spell(f.plan.Tunnel) {
		return errTunnelDiffers
	}
	if err := f.apply(plan); err != nil {
		return err
	}
	f.plan = plan
	f.lists.follow(ctx, plan)
	f.warn()
	return nil
}

// spell writes a tunnel's settings out, to compare them.
func spell(t *tunnel.Config) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%+v", *t)
}

// apply gives a plan to the proxy and lets its ports in through the tunnel; what fails half is taken back.
func (f *front) apply(plan *config.Plan) error {
	if err := f.proxy.Apply(f.proxyConfig(plan)); err != nil {
		return err
	}
	err := f.admit()
	if err != nil {
		err = errors.Join(err, f.proxy.Apply(f.proxyConfig(f.plan)), f.admit())
	}
	return err
}
