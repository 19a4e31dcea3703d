package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// tunnelUpCommand is "genkan tunnel up": the tunnel alone, without locking oneself out.
func tunnelUpCommand(io streams) *cobra.Command {
	var source tunnelSource
	var dryRun bool
	var confirm time.Duration
	cmd := &cobra.Command{
		Use:   "up [-c FILE | --prefix PREFIX --relay IPV4] [--confirm 60s] [--dry-run]",
		Short: "Bring the tunnel up by itself, and stay with it in the background",
		Long: `Up says what it will change and brings the tunnel of the configuration up, without listeners: a process in the
background keeps it, heals it, and takes it back on "genkan tunnel down". With --confirm it takes everything back
after that time unless "genkan tunnel confirm" comes before, even if this shell is gone by then. An interface of the
same name and an IPv6 default route that exist already are not touched without --replace.`,
		Args: arguments(0, 0, "[-c FILE] [--confirm 60s] [--dry-run]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("confirm") && confirm <= 0 {
				return fmt.Errorf("--confirm %s: no time to confirm in; write one like 60s", confirm)
			}
			if err := source.refuseMixture(cmd.Flags()); err != nil {
				return err
			}
			plan, err := source.plan()
			if err != nil {
				return err
			}
			if err := mayTunnel(); err != nil && !dryRun {
				return err
			}
			if err := nobodyKeeps(cmd.Context(), plan); err != nil {
				return err
			}
			if err := preview(cmd.Context(), io.out, plan, confirm > 0); err != nil || dryRun {
				return err
			}
			return startKeeper(cmd.Context(), io.out, plan, source.args(), confirm)
		},
	}
	source.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	cmd.Flags().DurationVar(&confirm, "confirm", 0, "take everything back after this `TIME` unless confirmed")
	return cmd
}

// nobodyKeeps refuses where a process has this tunnel already.
func nobodyKeeps(ctx context.Context, plan *config.Plan) error {
	answer, err := askTunnel(ctx, *plan.Tunnel, http.MethodGet, "/v1/tunnel")
	if errors.Is(err, errNoTunnel) {
		return nil
	}
	var s tunnelStatus
	if err := errors.Join(err, json.Unmarshal(answer, &s)); err != nil {
		return err
	}
	if s.ConfirmUntil != nil {
		return fmt.Errorf("%s is up already, and process %d waits for its confirmation until %s; write genkan tunnel confirm, or genkan tunnel down",
			s.Interface, s.Pid, s.ConfirmUntil.Format(time.RFC3339))
	}
	return fmt.Errorf("%s is up already, kept by process %d; write genkan tunnel down first, or --interface NAME for another", s.Interface, s.Pid)
}

// tunnelKeepCommand is the process that "genkan tunnel up" leaves behind. It is started with a pipe as descriptor 3,
// into which it says "ok", or why not.
func tunnelKeepCommand(_ streams) *cobra.Command {
	var source tunnelSource
	var confirm time.Duration
	logs := logFlags{format: "text", level: "info"}
	cmd := &cobra.Command{
		Use:    "keep",
		Hidden: true,
		Args:   arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, closeLog, err := logs.logger(os.Stderr, nil)
			if err != nil {
				return err
			}
			defer closeLog()
			pipe := os.NewFile(3, "ready")
			plan, err := source.plan()
			if err != nil {
				_, told := fmt.Fprintln(pipe, err)
				return errors.Join(err, told)
			}
			k := &keeper{plan: plan, log: log, confirm: confirm, ready: func(err error) { tell(pipe, err) }}
			return untilSignal(cmd.Context(), log, closeLog, k.keep)
		},
	}
	source.add(cmd)
	cmd.Flags().DurationVar(&confirm, "confirm", 0, "")
	return cmd
}

// tell writes how the start went into the pipe of the asker and closes it. An asker that is gone needs no answer.
func tell(pipe *os.File, err error) {
	if err == nil {
		fmt.Fprintln(pipe, "ok")
	} else {
		fmt.Fprintln(pipe, err)
	}
	pipe.Close()
}

// startKeeper starts a keeper in a session of its own and waits until the tunnel stands.
func startKeeper(ctx context.Context, out io.Writer, plan *config.Plan, args []string, confirm time.Duration) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	logFile := strings.TrimSuffix(controlSocket(*plan.Tunnel), ".sock") + ".log"
	if err := os.MkdirAll(logFile[:strings.LastIndexByte(logFile, '/')], 0o755); err != nil {
		return errors.Join(err, writer.Close())
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	defer log.Close()
	cmd := exec.Command(program, append([]string{"tunnel", "keep", "--confirm", confirm.String()}, args...)...)
	cmd.Stderr, cmd.ExtraFiles = log, []*os.File{writer}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal
	err = cmd.Start()
	if err := errors.Join(err, writer.Close()); err != nil {
		return err
	}
	if err := awaitKeeper(ctx, reader, logFile); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	if err := cmd.Process.Release(); err != nil {
		return err
	}
	fmt.Fprintf(out, "The tunnel is up; process %d keeps it and writes to %s.\n", pid, logFile)
	if confirm > 0 {
		fmt.Fprintf(out, "Write \"genkan tunnel confirm\" within %s, or everything is taken back.\n", confirm)
	}
	return nil
}

// startPatience bounds how long a tunnel may take to come up, with the search for a datapath and DAD.
const startPatience = time.Minute

func awaitKeeper(ctx context.Context, pipe *os.File, logFile string) error {
	if err := pipe.SetReadDeadline(time.Now().Add(startPatience)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { pipe.SetReadDeadline(time.Now()) })
	defer stop()
	lines := bufio.NewReader(io.LimitReader(pipe, 64<<10))
	word, err := lines.ReadString('\n')
	rest, _ := io.ReadAll(lines)
	switch text := strings.TrimSpace(word + string(rest)); {
	case text == "ok":
		return nil
	case text != "":
		return errors.New(text)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the tunnel did not come up within %s; see %s", startPatience, logFile)
	}
	return fmt.Errorf("the keeping process ended at once; see %s", logFile)
}
