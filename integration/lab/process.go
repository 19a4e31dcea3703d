package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxOutput bounds what is kept of a program's output: its last bytes.
const maxOutput = 1 << 20

// A Process is a program that runs in a namespace, in a process group of its
// own, with its output kept.
type Process struct {
	cmd  *exec.Cmd
	out  output
	pipe *os.File      // what it and its children write
	read chan struct{} // closed when nobody can write any more
	done chan struct{} // closed when the program has ended
	err  error         // of Wait; read after done
}

// Run starts a program in the namespace. Stop it before the lab is closed.
func (n *Namespace) Run(name string, args ...string) (*Process, error) {
	return n.RunCmd(exec.Command(name, args...))
}

// RunCmd is Run for a command with an environment or input of its own. Its
// output is taken over.
func (n *Namespace) RunCmd(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, read: make(chan struct{}), done: make(chan struct{})}
	p.out.changed = make(chan struct{})
	// A pipe of our own: one of exec's would be closed at the program's end,
	// and that kills children who write on.
	var out *os.File
	var err error
	if p.pipe, out, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := n.Start(cmd); err != nil {
		p.pipe.Close()
		return nil, fmt.Errorf("lab: namespace %q: start %s: %w", n.Name, cmd.Path, err)
	}
	go func() {
		defer close(p.read)
		_, _ = io.Copy(&p.out, p.pipe) // until the last writer is gone, or Kill
	}()
	go func() {
		p.err = cmd.Wait()
		select {
		case <-p.read:
		case <-time.After(childGrace): // a child holds the pipe
		}
		close(p.done)
	}()
	return p, nil
}

// childGrace is how long children may write after a program's end until it
// counts as ended.
const childGrace = 200 * time.Millisecond

// Output runs a program in the namespace to its end and returns what it wrote.
func (n *Namespace) Output(ctx context.Context, name string, args ...string) (string, error) {
	p, err := n.Run(name, args...)
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
		return p.Output(), fmt.Errorf("lab: namespace %q: %s: %w", n.Name, name, ctx.Err())
	}
	return p.Output(), p.err
}

// Pid is the program's process number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns what the program has written so far.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is the program's end: nil for exit status 0. Call it after Done.
func (p *Process) Err() error { return p.err }

// WaitFor waits until the program has written text. It fails when the program
// ends or the deadline passes before.
func (p *Process) WaitFor(text string, within time.Duration) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		written, changed := p.out.read()
		if strings.Contains(written, text) {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			if strings.Contains(p.Output(), text) {
				return nil
			}
			return fmt.Errorf("lab: %s ended (%v) before it wrote %q; it wrote:\n%s", p.cmd.Path, p.err, text, p.Output())
		case <-deadline.C:
			return fmt.Errorf("lab: %s did not write %q in %v; it wrote:\n%s", p.cmd.Path, text, within, p.Output())
		}
	}
}

// Stop asks the program to end by SIGTERM, waits, and kills its whole group
// at the deadline, which is an error; SIGQUIT makes a Go program tell before
// what it waits for. What the group left running is killed in any case.
func (p *Process) Stop(within time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		p.Kill()
		return p.err
	case <-timer.C:
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-p.done:
		case <-time.After(time.Second):
		}
		p.Kill()
		return fmt.Errorf("lab: %s did not end %v after SIGTERM; it wrote:\n%s", p.cmd.Path, within, p.Output())
	}
}

// Kill ends the program and its group at once.
func (p *Process) Kill() {
	if err := syscall.Kill(-p.Pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		_ = p.cmd.Process.Kill()
	}
	<-p.done
	select {
	case <-p.read:
	case <-time.After(2 * time.Second): // somebody has left the group
	}
	p.pipe.Close()
	<-p.read
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// output keeps the end of what is written to it and tells waiters of news.
type output struct {
	mu      sync.Mutex // guards what follows
	buf     bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	if over := o.buf.Len() - maxOutput; over > 0 {
		o.buf.Next(over)
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return len(b), nil
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}

func (o *output) String() string {
	s, _ := o.read()
	return s
}
