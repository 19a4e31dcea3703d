package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"genkan/cmd/genkan/config"
	"genkan/tunnel"
)

// load reads the configuration again, with what the tunnel that stands has found out.
func (f *front) load(unjudged bool) (*config.Plan, error) {
	opt := config.Options{Limits: f.plan.Env.Limits, Log: f.log, Unjudged: unjudged}
	if f.tunnel != nil && f.plan.Tunnel.Kind != tunnel.Kind6in4 {
		opt.Stands = stands(f.tunnel.Status())
	}
	plan, err := config.Load(f.plan.File, opt)
	if err == nil && plan.Tunnel != nil && f.plan.Tunnel != nil {
		plan.Tunnel.Replace = f.plan.Tunnel.Replace // of the command line
	}
	return plan, err
}

// stands is a tunnel as rules have to know it.
func stands(s tunnel.Status) *tunnel.Config {
	return &tunnel.Config{Prefix: s.Domain, IPv4MaskLen: s.IPv4MaskLen, Relays: s.Relays, Local: s.Local}
}

// loadBeside reads a configuration as the Genkan that runs on this host has it: with what its tunnel has found out.
func loadBeside(ctx context.Context, file string) (*config.Plan, error) {
	plan, err := config.Load(file, config.Options{})
	if err != nil || !learns(plan.Tunnel) {
		return plan, err
	}
	var s tunnelStatus
	if text, err := askTunnel(ctx, *plan.Tunnel, http.MethodGet, "/v1/tunnel"); err != nil || json.Unmarshal(text, &s) != nil {
		return plan, nil // none runs
	}
	return config.Load(file, config.Options{Stands: stands(s.Status)})
}

// learns reports whether rules on 6rd addresses depend on what only a tunnel that stands knows.
func learns(t *tunnel.Config) bool {
	return t != nil && (t.DHCP || t.IPv4MaskLen > 0 && !t.Local.IsValid())
}

// moved takes the tunnel's new address, and the domain, where that may be another one.
func (f *front) moved(c tunnel.Change) {
	plan := f.plan
	if learns(plan.Tunnel) {
		next, err := f.load(false)
		if err != nil {
			f.log.Error("the configuration cannot be read again for the tunnel's 6rd domain; rules on 6rd addresses keep the one before", "error", err)
		} else {
			plan = next
		}
	}
	if err := f.apply(plan); err != nil {
		f.log.Error("listeners do not follow the tunnel", "address", c.Address, "error", err)
		return
	}
	f.plan = plan
	f.names.follow(plan.DNS, c.Address)
	f.log.Info("listeners follow the tunnel", "address", c.Address, "delegated", c.Delegated)
}

// errTunnelComes and errTunnelGoes are what a reload cannot do: listeners would come and go with the address.
var (
	errTunnelComes = errors.New("[tunnel] is new, and a reload brings no tunnel up; systemctl restart genkan")
	errTunnelGoes  = errors.New("[tunnel] is gone, and a reload takes no tunnel down; systemctl restart genkan")
)

// mayRetunnel refuses what a reload cannot do to the tunnel.
func (f *front) mayRetunnel(next *tunnel.Config) error {
	now := f.plan.Tunnel
	switch {
	case now == nil && next == nil:
		return nil
	case now == nil:
		return errTunnelComes
	case next == nil:
		return errTunnelGoes
	case nameOf(now) != nameOf(next):
		return fmt.Errorf("[tunnel] interface %q cannot become %q in a reload; systemctl restart genkan", nameOf(now), nameOf(next))
	}
	return nil
}

func nameOf(t *tunnel.Config) string {
	if t.Interface == "" {
		return tunnel.DefaultInterface
	}
	return t.Interface
}

// retunnel gives the tunnel the configuration of a plan, and returns the plan with what the tunnel has then found out.
// undo gives it the one before.
func (f *front) retunnel(ctx context.Context, plan *config.Plan) (next *config.Plan, undo func() error, err error) {
	undo = func() error { return nil }
	if f.tunnel == nil || spell(plan.Tunnel) == spell(f.plan.Tunnel) {
		return plan, undo, nil
	}
	apply := func(t tunnel.Config) error {
		t.Log = f.log
		return f.tunnel.Apply(ctx, t)
	}
	if err := apply(*plan.Tunnel); err != nil {
		return nil, undo, err
	}
	undo = func() error { return apply(*f.plan.Tunnel) }
	if learns(plan.Tunnel) {
		if plan, err = f.load(false); err != nil {
			return nil, undo, errors.Join(err, undo())
		}
	}
	return plan, undo, nil
}

// spell writes a tunnel's settings out, to compare them.
func spell(t *tunnel.Config) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%+v", *t)
}
