package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
	"genkan/tunnel"
)

// hangups delivers the signals that mean something to a front: SIGHUP, SIGUSR1, by which logrotate asks for new log
// files, and SIGUSR2. Call it before anybody is told that this front serves: an unhandled SIGHUP ends the process.
func (f *front) hangups() chan os.Signal {
	c := make(chan os.Signal, 3)
	if f.reloads {
		signal.Notify(c, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	}
	return c
}

// watch follows what changes while the front serves, until ctx ends: SIGHUP reads the file again, SIGUSR2 starts another
// process in our place, and the tunnel's listeners move with its address. Signals that come during a reload are one
// further reload.
func (f *front) watch(ctx context.Context, hangups chan os.Signal) {
	defer close(f.ended)
	if f.reloads {
		defer signal.Ignore(syscall.SIGHUP, syscall.SIGUSR2) // too late for them, and no reason to die
	}
	var moves <-chan tunnel.Change
	if f.tunnel != nil {
		moves = f.tunnel.Changes()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-hangups:
			switch s {
			case syscall.SIGUSR1:
				f.proxy.ReopenLogs()
				continue
			case syscall.SIGUSR2:
				f.upgradeBySignal(ctx)
				continue
			}
			f.logged(f.reload(ctx, false))
		case asked := <-f.upgrades:
			asked.done <- f.upgrade(ctx, asked)
		case asked := <-f.asked:
			f.answerReload(ctx, asked)
		case c := <-moves:
			f.moved(c)
		}
	}
}

// answerReload reloads for one who waits, and for all who came to wait meanwhile: of a storm one reload is left.
func (f *front) answerReload(ctx context.Context, first reloadAsked) {
	waiting := []reloadAsked{first}
	for more := true; more; {
		select {
		case one := <-f.asked:
			waiting = append(waiting, one)
		default:
			more = false
		}
	}
	for _, dryRun := range []bool{true, false} {
		its := slices.DeleteFunc(slices.Clone(waiting), func(a reloadAsked) bool { return a.dryRun != dryRun })
		if len(its) == 0 {
			continue
		}
		diff, err := f.reload(ctx, dryRun)
		if !dryRun {
			f.logged(diff, err)
		}
		for _, one := range its {
			one.done <- reloadDone{diff, err}
		}
	}
}

// A reloadAsked is a reload that "genkan reload" waits for.
type reloadAsked struct {
	dryRun bool
	done   chan<- reloadDone // has room for one
}

type reloadDone struct {
	diff []string
	err  error
}

// reload puts the file as it is now in the place of what runs, all of it or nothing, and says what differs.
func (f *front) reload(ctx context.Context, dryRun bool) ([]string, error) {
	defer f.garbage.spare()()
	plan, err := f.load(true)
	if err == nil {
		err = f.mayRetunnel(plan.Tunnel)
	}
	if err != nil {
		return nil, err
	}
	diff := f.plan.Diff(plan)
	if dryRun || slices.ContainsFunc(diff, reachesOut) {
		if err := plan.Judge(); err != nil {
			return nil, err
		}
	}
	if dryRun {
		return diff, nil
	}
	f.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer f.notify(daemon.SdNotifyReady)
	err = f.replace(ctx, plan)
	if err == nil {
		return diff, nil
	}
	if mistakes := plan.Judge(); mistakes != nil { // with their places
		err = mistakes
	}
	return diff, err
}

// reachesOut tells a difference that is carried out before the proxy has the plan, and would have to be taken back.
func reachesOut(difference string) bool {
	return strings.HasSuffix(difference, "[tunnel]") || strings.HasSuffix(difference, "[admin]")
}

// logged logs how a reload went.
func (f *front) logged(diff []string, err error) {
	var mistakes config.Mistakes
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes {
			f.log.Error("reload refused, the old configuration goes on: "+m.Msg, "at", m.Pos.String())
		}
	case err != nil:
		f.log.Error("reload refused, the old configuration goes on", "error", err)
	default:
		f.log.Info("reloaded", "file", f.plan.File, "holds", summary(f.plan), "changes", diff)
	}
}

// replace applies a plan, or leaves all as it was.
func (f *front) replace(ctx context.Context, plan *config.Plan) error {
	before := f.admin.addr()
	commit, cancel, err := f.admin.move(ctx, plan.Admin)
	if err != nil {
		return err
	}
	plan, undo, err := f.retunnel(ctx, plan)
	if err != nil {
		cancel()
		return err
	}
	if err := f.apply(plan); err != nil {
		cancel()
		return errors.Join(err, undo())
	}
	f.plan = plan
	f.keepConfig()
	f.followNames()
	f.lists.follow(ctx, plan)
	if err := commit(); err != nil {
		f.log.Warn("the admin listener before the reload was cut", "error", err)
	}
	if f.admin.addr() != before {
		f.logAdmin()
	}
	f.warn()
	return nil
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

// reloadCommand is "genkan reload".
func reloadCommand(io streams) *cobra.Command {
	var socket string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reload [--dry-run]",
		Short: "Read the configuration again, all of it or nothing",
		Long: `Reload puts the file as it is now in the place of what runs, and shows the difference: "+" comes, "-" goes, "~"
changes. Where the file does not hold, the old configuration goes on and the mistakes are shown. What is open goes on.`,
		Args: arguments(0, 0, "[--dry-run]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/v1/reload"
			if dryRun {
				path += "?dry_run=true"
			}
			done, err := askChange[reloaded](cmd.Context(), socket, http.MethodPost, path, nil)
			if err != nil {
				return err
			}
			for _, line := range done.Changes {
				fmt.Fprintln(io.out, line)
			}
			if len(done.Changes) == 0 {
				fmt.Fprintln(io.out, "nothing differs")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show the difference")
	return cmd
}
