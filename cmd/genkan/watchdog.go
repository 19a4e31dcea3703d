package main

import (
	"context"
	"errors"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdog tells systemd that this process is well (WatchdogSec), as long as all that carries traffic turns, until ctx
// ends. One that hangs is killed then, and the next one adopts the tunnel.
func (f *front) watchdog(ctx context.Context) {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil || within == 0 {
		if err != nil {
			f.log.Warn("WATCHDOG_USEC cannot be read, so systemd is not told that this process is well", "error", err)
		}
		return
	}
	tick := time.NewTicker(within / 3)
	defer tick.Stop()
	for {
		if err := f.alive(ctx, within/3); err != nil {
			f.log.Error("systemd is not told that this process is well", "error", err)
		} else {
			f.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// alive asks all parts for a sign of life.
func (f *front) alive(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	answered := make(chan error, 1)
	go func() { // ends with ctx, but for a lock that nobody gives back: then systemd ends us
		err := f.proxy.Alive(ctx)
		if f.tunnel != nil {
			f.tunnel.Address() // waits for its lock
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return errors.New("no answer from listeners or tunnel")
	}
}
