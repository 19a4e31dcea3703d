package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// untilSignal runs work with a context that ends with the first SIGTERM or SIGINT. A second one ends the process at
// once, with what is open cut and the tunnel left for the next start to take over. flush writes what is logged.
func untilSignal(ctx context.Context, log *slog.Logger, flush func(), work func(context.Context) error) error {
	signal.Ignore(syscall.SIGPIPE) // who reads the log may go; what is served goes on
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for first := true; ; first = false {
			select {
			case s := <-signals:
				if !first {
					log.Warn("stopped at once by a second signal", "signal", s.String())
					flush()
					os.Exit(1)
				}
				log.Info("stopping: what is open may finish; a second signal ends at once", "signal", s.String())
				cancel()
			case <-done:
				return
			}
		}
	})
	err := work(ctx)
	signal.Stop(signals)
	close(done)
	watching.Wait()
	return err
}
