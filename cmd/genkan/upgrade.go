package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"genkan/proxy"
)

// An upgradeAsked is an upgrade that somebody waits for.
type upgradeAsked struct {
	binary string        // "": that of this process
	within time.Duration // to be ready; 0: upgradeWithin
	tell   func(string)  // hears how it goes
	done   chan<- error  // has room for one
}

// upgradeBySignal is an upgrade that only the log hears of.
func (f *front) upgradeBySignal(ctx context.Context) {
	if err := f.upgrade(ctx, upgradeAsked{tell: func(string) {}}); err != nil {
		f.log.Error("upgrade failed, this process goes on", "error", err)
	}
}

// upgrade starts another process in the place of this one, which ends then: it stops service, and what is open may
// finish. After an error this one goes on as if nothing had been.
func (f *front) upgrade(ctx context.Context, asked upgradeAsked) error {
	if asked.within == 0 {
		asked.within = upgradeWithin
	}
	until := time.Now().Add(asked.within)
	y, err := f.startYounger(asked.binary)
	if err != nil {
		return err
	}
	defer y.line.close()
	stopped := context.AfterFunc(ctx, y.line.close) // SIGTERM comes between
	defer stopped()
	asked.tell(fmt.Sprintf("process %d started", y.pid))
	if err := f.prepareYounger(y, until); err != nil {
		return y.give(err)
	}
	asked.tell(fmt.Sprintf("process %d is prepared (version %s)", y.pid, y.version))
	began := time.Now()
	if until = began.Add(switchWithin); time.Until(until) > asked.within {
		until = began.Add(asked.within)
	}
	if err := f.switchTo(y, until); err != nil {
		return errors.Join(y.give(err), f.goOn())
	}
	f.leave(y)
	took := time.Since(began).Round(time.Millisecond)
	f.log.Info("another process serves now; this one ends when what is open has", "pid", y.pid, "version", y.version, "clients waited", took)
	asked.tell(fmt.Sprintf("process %d serves; clients waited for %v", y.pid, took))
	return nil
}

// A younger is the process that is to go on.
type younger struct {
	pid     int
	process *os.Process
	line    *line
	version string
}

// startYounger starts binary with all that this process listens on.
func (f *front) startYounger(binary string) (*younger, error) {
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, fmt.Errorf("%q cannot be run: %w", binary, errors.Unwrap(err))
	}
	b, near, err := f.bequeath()
	if err != nil {
		return nil, err
	}
	defer b.close()
	fds, err := b.descriptors()
	if err != nil {
		return nil, errors.Join(err, near.conn.Close())
	}
	pid, err := syscall.ForkExec(path, append([]string{path}, os.Args[1:]...), &syscall.ProcAttr{
		Env: b.environment(), Files: append([]uintptr{0, 1, 2}, fds...),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%q cannot be run: %w", path, err), near.conn.Close())
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, errors.Join(err, near.conn.Close())
	}
	return &younger{pid: pid, process: process, line: near}, nil
}

// bequeath collects what the younger process needs, and the line to it.
func (f *front) bequeath() (b *bequest, near *line, err error) {
	b = &bequest{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	sockets, err := f.proxy.Sockets()
	b.add(fdListener, sockets...)
	if err != nil {
		return nil, nil, err
	}
	var others []struct {
		name string
		l    interface{ File() (*os.File, error) }
	}
	also := func(name string, l interface{ File() (*os.File, error) }) {
		others = append(others, struct {
			name string
			l    interface{ File() (*os.File, error) }
		}{name, l})
	}
	if f.control != nil {
		also(fdControl, f.control.socket)
	}
	if f.status != nil {
		also(fdTunnelControl, f.status.socket)
	}
	if f.admin.serving != nil {
		also(fdAdmin, f.admin.serving.listener.(*net.TCPListener))
	}
	for _, o := range others {
		file, err := o.l.File()
		if err != nil {
			return nil, nil, err
		}
		b.add(o.name, file)
	}
	if f.instance != nil {
		file, err := f.instance.duplicate()
		if err != nil {
			return nil, nil, err
		}
		b.add(fdInstance, file)
	}
	if f.tunnel != nil {
		files, err := f.tunnel.Files()
		if err != nil {
			return nil, nil, err
		}
		for name, file := range files {
			b.add(fdTunnel+name, file)
		}
	}
	near, far, err := linePair()
	if err != nil {
		return nil, nil, err
	}
	b.add(fdLine, far)
	return b, near, nil
}

// prepareYounger waits until the younger process has found its configuration good.
func (f *front) prepareYounger(y *younger, until time.Time) error {
	hello := word{Say: sayHello, Version: version}
	if f.tunnel != nil {
		hello.Tunnel = f.tunnel.Address()
	}
	if err := y.line.say(hello, until); err != nil && !errors.Is(err, io.EOF) { // it may have said why it went
		return err
	}
	w, err := y.expect(sayPrepared, until)
	y.version = w.Version
	return err
}

// expect waits for a word. The error says what came in its place.
func (y *younger) expect(say string, until time.Time) (word, error) {
	w, err := y.line.hear(until)
	switch {
	case err != nil:
		return w, err
	case w.Say == sayFailed:
		return w, errors.New(w.Why)
	case w.Say != say:
		return w, fmt.Errorf("it says %q, not %q", w.Say, say)
	}
	return w, nil
}

// give ends a younger process that has failed, and says why.
func (y *younger) give(err error) error {
	if !errors.Is(err, io.EOF) {
		_ = y.process.Kill() // it may have ended just now
	}
	state, waitErr := y.process.Wait()
	switch {
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("it ended (%s) before it was ready; its own lines are in the log", state)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("it was not ready in time")
	}
	return fmt.Errorf("process %d did not take over: %w", y.pid, errors.Join(err, waitErr))
}

// switchTo lets clients wait, gives what is under way to the younger process, and waits until that serves.
func (f *front) switchTo(y *younger, until time.Time) error {
	parcels, err := f.proxy.Pause()
	defer closeParcels(parcels)
	if err != nil {
		return err
	}
	if f.lists.book != nil {
		if err := f.lists.book.Suspend(); err != nil {
			return err
		}
	}
	if err := f.carrying.stop(); err != nil {
		return err
	}
	for _, p := range parcels {
		if err := y.line.say(word{Say: sayParcel, Parcel: &p}, until); err != nil {
			return err
		}
	}
	if err := y.line.say(word{Say: sayGo}, until); err != nil {
		return err
	}
	_, err = y.expect(sayReady, until)
	return err
}

func closeParcels(parcels []proxy.Parcel) {
	for _, p := range parcels {
		p.File.Close()
	}
}

// goOn takes back what switchTo has given away.
func (f *front) goOn() error {
	f.carrying.start(f)
	var err error
	if f.lists.book != nil {
		err = f.lists.book.Resume()
	}
	return errors.Join(err, f.proxy.Resume(), f.admit(), f.instance.signAgain())
}

// leave ends service here: the younger process has it.
func (f *front) leave(y *younger) {
	f.leaving = true
	f.notify(fmt.Sprintf("MAINPID=%d", y.pid))
	err := errors.Join(y.line.say(word{Say: sayYours}, time.Now().Add(time.Second)), y.process.Release(),
		f.control.leave(), f.status.leave(), f.admin.leave())
	if err != nil {
		f.log.Warn("not all could be left to the other process", "error", err)
	}
	f.proxy.Leave()
	f.stop()
}

// answerUpgrade upgrades, and tells how it goes, one line of JSON each.
func (f *front) answerUpgrade(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	within, _ := time.ParseDuration(r.URL.Query().Get("within")) // absent: 0
	// The drain may take longer than other answers.
	_ = control.SetWriteDeadline(time.Now().Add(upgradeWithin + within + switchWithin + f.plan.Proxy.Timeouts.Drain + 2*controlPatience))
	told := json.NewEncoder(w)
	tell := func(text string) {
		_ = told.Encode(upgradeWord{Text: text}) // the asker has gone: the upgrade goes on
		_ = control.Flush()
	}
	done := make(chan error, 1)
	asked := upgradeAsked{binary: r.URL.Query().Get("binary"), within: within, tell: tell, done: done}
	select {
	case f.upgrades <- asked:
	case <-f.ended:
		answer(w, nil, errStopping)
		return
	case <-r.Context().Done():
		return
	}
	if err := <-done; err != nil {
		f.log.Error("upgrade failed, this process goes on", "error", err)
		_ = told.Encode(upgradeWord{Error: err.Error()})
		return
	}
	f.tellDrain(r.Context(), tell)
}

// An upgradeWord is one line of the answer.
type upgradeWord struct {
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"` // the last one; without it the last line is a Text
}

// tellDrain tells how many connections are still open here, until none is.
func (f *front) tellDrain(ctx context.Context, tell func(string)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := 0; ; {
		if n := f.proxy.Open(); n != last {
			tell(fmt.Sprintf("process %d still has %s", os.Getpid(), plural(n, "connection")))
			last = n
		}
		select {
		case <-f.gone:
			tell(fmt.Sprintf("process %d is done", os.Getpid()))
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// upgradeCommand is "genkan upgrade".
func upgradeCommand(streams streams) *cobra.Command {
	var socket string
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "upgrade [BINARY]",
		Short: "Go on with another binary, without losing a connection",
		Long: `Upgrade starts BINARY, or the running Genkan's own file as it is now, in the place of the running one, with the same
arguments. It gets the listeners, the tunnel and the UDP sessions; the old process lets its connections finish (timeouts.drain)
and ends. Where the new one does not start, refuses the configuration, crashes or is not ready in time, the old one goes on.`,
		Args: arguments(0, 1, "[BINARY]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if within <= 0 {
				return usagef("--within %v: write how long the new process may take, as 1m", within)
			}
			binary := ""
			if len(args) == 1 {
				var err error
				if binary, err = filepath.Abs(args[0]); err != nil {
					return err
				}
			}
			return askUpgrade(cmd.Context(), streams.out, socket, binary, within)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().DurationVar(&within, "within", upgradeWithin, "how long the new process may take until it serves")
	return cmd
}

// askUpgrade shows the answer as it comes.
func askUpgrade(ctx context.Context, out io.Writer, socket, binary string, within time.Duration) error {
	query := url.Values{"within": {within.String()}, "binary": {binary}}
	answer, err := askStream(ctx, socket, http.MethodPost, "/v1/upgrade?"+query.Encode(), nil)
	if errors.Is(err, errNobody) {
		err = fmt.Errorf("no Genkan answers at %s; start genkan run as root", socket)
	}
	if err != nil {
		return err
	}
	defer answer.Close()
	lines := bufio.NewScanner(answer)
	lines.Buffer(nil, maxWord)
	for lines.Scan() {
		var w upgradeWord
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			return err
		}
		if w.Error != "" {
			return errors.New("the running Genkan goes on: " + w.Error)
		}
		fmt.Fprintln(out, w.Text)
	}
	return lines.Err()
}
