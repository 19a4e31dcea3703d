package tunnel

import (
	"context"
	"errors"
	"net/netip"

	"genkan/tunnel/sixrd"
)

// A Tunnel is one that Up brought up. Its methods may be called from any
// goroutine. There is no useful zero Tunnel.
type Tunnel struct {
	cfg     Config
	changes chan Change
}

// Up brings the tunnel up: interface, address, routes, filter. ctx bounds the
// bring-up only. On an error everything that was made is taken back.
func Up(ctx context.Context, cfg Config) (*Tunnel, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return nil, errors.New("tunnel: no datapath yet")
}

// Address returns our address on the tunnel.
func (t *Tunnel) Address() netip.Addr { return netip.Addr{} }

// Delegated returns our delegated prefix, for 6in4 that of the link.
func (t *Tunnel) Delegated() netip.Prefix { return netip.Prefix{} }

// Interface returns the interface's name.
func (t *Tunnel) Interface() string { return t.cfg.Interface }

// Datapath returns the datapath in use: "kernel", "ebpf" or "userspace".
func (t *Tunnel) Datapath() string { return t.cfg.Datapath }

// SetPorts sets what expose = "listeners" admits besides ICMPv6 and replies.
// Before the first call nothing is admitted.
func (t *Tunnel) SetPorts(ports []Port) error { return nil }

// Serve moves packets and watches over what Up made until ctx ends, which is
// no error. It may be called once.
func (t *Tunnel) Serve(ctx context.Context) error { <-ctx.Done(); return nil }

// Changes delivers each change of our address. Only the newest is kept for a
// slow reader. The channel is never closed.
func (t *Tunnel) Changes() <-chan Change { return t.changes }

// Status returns what the tunnel is and its counters.
func (t *Tunnel) Status() Status { return Status{} }

// Close takes back what Up made, in reverse. Call it after Serve has returned.
// A second call does nothing.
func (t *Tunnel) Close() error { return nil }

// Leave ends this process's part and leaves the tunnel standing for the next
// Up, which adopts it by the state file.
func (t *Tunnel) Leave() error { return nil }

// domain is the 6rd domain that c describes.
func (c Config) domain() sixrd.Domain {
	d := sixrd.Domain{Prefix: c.Prefix, IPv4MaskLen: c.IPv4MaskLen, Common: c.Local, Relays: c.Relays}
	if !d.Common.IsValid() && len(c.Relays) > 0 {
		d.Common = c.Relays[0] // only until Local is known
	}
	return d
}
