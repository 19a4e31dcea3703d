package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// RelayConfig is the configuration of the lab's border relay: Genkan again, in
// the other role.
var RelayConfig = fmt.Sprintf(`[tunnel]
role   = "relay"
prefix = %q
local  = %q
`, SixRD, RelayV4)

// private runs the rest of its arguments with folders of the namespace's own
// in place of /run and /var/lib: two daemons of one machine would otherwise
// find each other's state.
const private = `mount --bind "$1" /run && mount --bind "$2" /var/lib && shift 2 && exec "$@"`

// A Daemon is a running Genkan. Stop it, also when it has ended by itself.
type Daemon struct {
	*Process
	notify *net.UnixConn // where it says how it is, as to systemd
	ready  chan struct{} // closed when it has said that it serves
	heard  chan struct{} // closed when nobody listens any more
	main   atomic.Int64  // the process that goes on after an upgrade; 0: the first one
}

// Genkan starts "program run -c FILE" in the namespace, with config as the
// file. Its state stays in the lab's folder for the next start.
func (l *Lab) Genkan(n *Namespace, program, config string) (*Daemon, error) {
	if err := os.WriteFile(l.ConfigFile(n), []byte(config), 0o644); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	cmd, err := l.Private(n, program, "run", "-c", l.ConfigFile(n))
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(l.Dir, n.Name, "notify")
	_ = os.Remove(socket) // of the start before
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := os.Chmod(socket, 0o777); err != nil { // as systemd's is: Genkan need not be root
		return nil, errors.Join(fmt.Errorf("lab: %w", err), notify.Close())
	}
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	p, err := n.RunCmd(cmd)
	if err != nil {
		return nil, errors.Join(err, notify.Close())
	}
	d := &Daemon{Process: p, notify: notify, ready: make(chan struct{}), heard: make(chan struct{})}
	go d.listen()
	return d, nil
}

// listen reads what Genkan says until Stop. Unread words would hold it up:
// the socket's queue is short.
func (d *Daemon) listen() {
	defer close(d.heard)
	said := false
	buf := make([]byte, 256)
	for {
		n, err := d.notify.Read(buf)
		if err != nil {
			return
		}
		if pid, is := strings.CutPrefix(string(buf[:n]), "MAINPID="); is {
			main, err := strconv.Atoi(pid)
			if err == nil {
				d.main.Store(int64(main))
			}
		}
		if !said && strings.HasPrefix(string(buf[:n]), "READY=1") {
			said = true
			close(d.ready)
		}
	}
}

// WaitReady waits until Genkan serves. It fails when Genkan ends, ctx ends, or
// the time passes before.
func (d *Daemon) WaitReady(ctx context.Context, within time.Duration) error {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-d.ready:
		return nil
	case <-d.Done():
		return fmt.Errorf("lab: genkan ended (%v); it wrote:\n%s", d.Err(), d.Output())
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("lab: genkan was not ready in %v; it wrote:\n%s", within, d.Output())
	}
}

// Pid is the number of the process that serves, the last one after an upgrade.
func (d *Daemon) Pid() int {
	if pid := d.main.Load(); pid != 0 {
		return int(pid)
	}
	return d.Process.Pid()
}

// Signal sends a signal to the process that serves.
func (d *Daemon) Signal(s syscall.Signal) error { return syscall.Kill(d.Pid(), s) }

// Stop is Process.Stop. It may be called again.
func (d *Daemon) Stop(within time.Duration) error {
	err := d.stopSuccessor(within)
	err = errors.Join(err, d.Process.Stop(within)) // it says goodbye to notify
	d.notify.Close()
	<-d.heard
	return err
}

// stopSuccessor stops the process that an upgrade has started. Its exit status
// is init's to know.
func (d *Daemon) stopSuccessor(within time.Duration) error {
	pid := int(d.main.Load())
	if pid == 0 || Ended(pid) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("lab: process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(within); !Ended(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("lab: process %d did not end %v after SIGTERM; it wrote:\n%s", pid, within, d.Output())
		}
	}
	return nil
}

// Ended tells whether a process is gone, or only its number is left.
func Ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(after, "Z")
}

// ConfigFile is where Genkan puts the configuration of namespace n.
func (l *Lab) ConfigFile(n *Namespace) string { return filepath.Join(l.Dir, n.Name+".toml") }

// Private is a command that sees the same /run and /var/lib as the Genkan of
// namespace n, and nothing of the machine's.
func (l *Lab) Private(n *Namespace, program string, args ...string) (*exec.Cmd, error) {
	run, lib := filepath.Join(l.Dir, n.Name, "run"), filepath.Join(l.Dir, n.Name, "lib")
	for _, dir := range []string{run, lib} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", private, "sh", run, lib, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd, nil
}
