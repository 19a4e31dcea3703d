package tunnel

import (
	"context"
	"fmt"
)

// A wish is another configuration that a running tunnel shall have.
type wish struct {
	cfg  Config
	done chan<- error // has room for one
}

// Error says why the datapath has to stop.
func (w *wish) Error() string { return "another configuration" }

// Apply gives a tunnel another configuration while Serve runs: what both want
// stays, the rest is taken back and made. On an error the old configuration
// goes on. The interface's name and the state directory cannot change: they
// are what the tunnel is known by. A change of the address is told by Changes, too.
func (t *Tunnel) Apply(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	t.mu.Lock()
	name, dir := t.cfg.Interface, t.cfg.StateDir
	t.mu.Unlock()
	if cfg.Interface != name || cfg.StateDir != dir {
		return fmt.Errorf("tunnel: interface %q cannot become %q while it runs; restart for that", name, cfg.Interface)
	}
	done := make(chan error, 1)
	select {
	case t.wishes <- &wish{cfg, done}:
	case <-ctx.Done():
		return fmt.Errorf("tunnel: apply: %w", ctx.Err())
	}
	return <-done
}

// reconfigure makes the tunnel as wished, or as it was. An error means that
// neither could be made.
func (t *Tunnel) reconfigure(ctx context.Context, w *wish) error {
	was := t.setConfig(w.cfg)
	err := t.rebuild(ctx)
	if err == nil {
		w.done <- nil
		return nil
	}
	t.setConfig(was)
	undone := t.rebuild(ctx)
	w.done <- err
	return undone
}

func (t *Tunnel) setConfig(cfg Config) (was Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, t.cfg = t.cfg, cfg
	return was
}

// Config returns the configuration in use, with what DHCP gave.
func (t *Tunnel) Config() Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.site.cfg
}
