package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"genkan/integration/lab"
)

// Config says how to run the demo.
type Config struct {
	// Program is the genkan to show, usually os.Executable.
	Program string
	// Once ends after the visits instead of waiting for the end of ctx.
	Once bool
	// Color allows bold and coloured text.
	Color bool
	// Out gets what is told.
	Out io.Writer
}

// frontConfig is what the demo's Genkan runs with, and what is shown.
var frontConfig = fmt.Sprintf(`[tunnel]
prefix = %q           # the provider's 6rd prefix
relays = [%q]          # its border relay

[lists]
blocked = ["2001:db8:bad::/48", %q]

[site.legacy]
hosts  = ["default"]               # whatever name the client asks for
listen = ["tunnel:80", "%s:80"]
to     = "%s:8080"          # this server has no IPv6 at all
access = ["deny blocked", "allow all"]
`, lab.SixRD, lab.RelayV4, lab.Denied4, lab.FrontV4, lab.BackendV4)

// patience bounds each wait of the demo.
const patience = 20 * time.Second

// Run runs the demo. Without Once it stays up after the visits until ctx ends,
// which is no error. Everything it made is gone when it returns.
func Run(ctx context.Context, cfg Config) (err error) {
	s := &stage{cfg: cfg, p: printer{out: cfg.Out, color: cfg.Color}}
	defer func() { err = errors.Join(err, s.strike()) }()
	s.p.opening(frontConfig)
	if err := s.build(ctx); err != nil {
		return s.interrupted(ctx, err)
	}
	if err := s.visits(ctx); err != nil {
		return s.interrupted(ctx, err)
	}
	if cfg.Once {
		return nil
	}
	s.p.hints(s.lab)
	select {
	case <-ctx.Done():
		s.p.say("\nRemoving everything.")
		return nil
	case <-s.front.Done():
		return fmt.Errorf("demo: genkan ended (%v); it wrote:\n%s", s.front.Err(), s.front.Output())
	case <-s.relay.Done():
		return fmt.Errorf("demo: the border relay ended (%v); it wrote:\n%s", s.relay.Err(), s.relay.Output())
	}
}

// interrupted takes an error that follows from the end of ctx for no error,
// except when everything had to be shown.
func (s *stage) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && !s.cfg.Once {
		return nil
	}
	return err
}

// A stage is what the demo has built so far.
type stage struct {
	cfg          Config
	p            printer
	lab          *lab.Lab
	app          *app
	relay, front *lab.Daemon
}

func (s *stage) build(ctx context.Context) (err error) {
	if s.lab, err = lab.New(lab.Config{Named: true}); err != nil {
		return err
	}
	if s.app, err = startApp(s.lab.Backend, lab.BackendV4.String()+":8080"); err != nil {
		return err
	}
	if s.relay, err = s.lab.Genkan(s.lab.Relay, s.cfg.Program, lab.RelayConfig); err != nil {
		return err
	}
	if s.front, err = s.lab.Genkan(s.lab.Front, s.cfg.Program, frontConfig); err != nil {
		return err
	}
	if err := s.relay.WaitReady(ctx, patience); err != nil {
		return err
	}
	return s.front.WaitReady(ctx, patience)
}

// strike removes what build made, in reverse.
func (s *stage) strike() error {
	var errs []error
	for _, p := range []*lab.Daemon{s.front, s.relay} {
		if p == nil {
			continue
		}
		// A program that was ended by our signal and says so is no failure.
		if err := p.Stop(patience); err != nil && !errors.As(err, new(*exec.ExitError)) {
			errs = append(errs, err)
		}
	}
	if s.app != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.app.stop(ctx)
	}
	if s.lab != nil {
		s.lab.Close()
	}
	return errors.Join(errs...)
}
