package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// setAside is added to the name of what a rollback takes out of the way: include = ["sites/*.toml"] does not find it.
const setAside = ".rolled-back"

// rollbackCommand is "genkan rollback".
func rollbackCommand(io streams) *cobra.Command {
	var socket, stateDir string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rollback [--dry-run]",
		Short: "Bring the last good configuration back",
		Long: `Rollback writes the files of the last configuration that was in force back to where they were, and reloads. Where they
were edited since they were read, that is the running configuration; otherwise the one before it. What it replaces stays
beside it as FILE` + setAside + `. It needs no running Genkan: after a start that fails, it brings back what ran before.`,
		Args: arguments(0, 0, "[--dry-run]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := rollback{archive: archiveIn(stateDir), out: io.out, dryRun: dryRun}
			if err := r.run(); err != nil || dryRun || !r.changed {
				return err
			}
			return r.reload(cmd.Context(), socket)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().StringVar(&stateDir, "state-dir", "/var/lib/genkan", "state_dir of the configuration, a `DIRECTORY`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say which files it would write")
	return cmd
}

// A rollback is one under way.
type rollback struct {
	archive archive
	out     io.Writer
	dryRun  bool
	changed bool
}

func (r *rollback) run() error {
	running, err := r.archive.load(runningConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no configuration was ever in force by what %s says; with another state_dir, say --state-dir", r.archive.dir)
	}
	damaged := err
	if damaged != nil {
		if running, err = r.archive.load(formerConfig); err != nil {
			return errors.Join(damaged, err)
		}
		fmt.Fprintf(r.out, "what was in force last cannot be read (%v); the one before it can\n", damaged)
	}
	present, err := keptFrom(running.File, config.Sources(running.File))
	if err != nil {
		return err
	}
	target := running
	if damaged == nil && running.same(present) {
		if target, err = r.archive.load(formerConfig); errors.Is(err, fs.ErrNotExist) {
			return errors.New("the files are those of the running configuration, and there was none before it")
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(r.out, "the configuration of %s\n", target.Since.Format("2006-01-02 15:04:05"))
	return r.write(present, target)
}

// write makes the files what target says.
func (r *rollback) write(present, target kept) error {
	for _, have := range present.Files {
		if slices.ContainsFunc(target.Files, func(s config.Source) bool { return s.Path == have.Path }) {
			continue
		}
		if err := r.step("- ", have.Path, func() error { return os.Rename(have.Path, have.Path+setAside) }); err != nil {
			return err
		}
	}
	for _, want := range target.Files {
		text, err := os.ReadFile(want.Path)
		switch {
		case err == nil && string(text) == want.Text:
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		sign := "~ "
		if err != nil {
			sign = "+ "
		}
		if err := r.step(sign, want.Path, func() error { return restore(want, target.File) }); err != nil {
			return err
		}
	}
	return nil
}

// step makes one change, and says so.
func (r *rollback) step(sign, path string, do func() error) error {
	r.changed = true
	if !r.dryRun {
		if err := do(); err != nil {
			return err
		}
	}
	fmt.Fprintln(r.out, sign+path)
	return nil
}

// restore writes a file back, and keeps the one that is there under another name. Where none is, whoever may read the main
// file may read it.
func restore(s config.Source, main string) error {
	text, err := os.ReadFile(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = replaceLike(s.Path, []byte(s.Text), main); errors.Is(err, fs.ErrNotExist) {
			err = replaceFile(s.Path, []byte(s.Text), 0o600)
		}
		return err
	}
	if err == nil {
		err = replaceLike(s.Path+setAside, text, s.Path)
	}
	if err != nil {
		return err
	}
	return rewriteFile(s.Path, []byte(s.Text))
}

// reload has the running Genkan read the files, where there is one.
func (r *rollback) reload(ctx context.Context, socket string) error {
	text, err := ask(ctx, socket, http.MethodPost, "/v1/reload", nil)
	if errors.Is(err, errNobody) {
		fmt.Fprintln(r.out, "no Genkan runs: start it")
		return nil
	}
	if err != nil {
		return err
	}
	var done reloaded
	if err := json.Unmarshal(text, &done); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "reloaded: %s\n", plural(len(done.Changes), "difference"))
	return nil
}
