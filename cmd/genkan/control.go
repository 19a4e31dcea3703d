package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"genkan/tunnel"
)

// controlPatience bounds what one question to a running tunnel may take; taking a tunnel down is the longest.
const controlPatience = 30 * time.Second

// controlSocket is where the process that owns a tunnel interface answers.
func controlSocket(cfg tunnel.Config) string {
	dir, name := cfg.StateDir, cfg.Interface
	if dir == "" {
		dir = tunnel.DefaultStateDir
	}
	if name == "" {
		name = tunnel.DefaultInterface
	}
	return filepath.Join(dir, name+".sock")
}

// A tunnelStatus is what the owner of a tunnel tells about it.
type tunnelStatus struct {
	tunnel.Status
	Pid          int        `json:"pid"`
	ConfirmUntil *time.Time `json:"confirm_until,omitempty"` // taken down then, unless confirmed
}

// A control answers questions on a unix socket that only root can reach.
type control struct {
	server http.Server
	served chan error
	path   string
	socket *net.UnixListener
	left   bool // another process answers there now
}

// startControl listens on the socket. The caller owns the tunnel, so a socket that is there is a dead process's; or the
// one that the process before has given over, which inherited is then.
func startControl(path string, inherited net.Listener, answers http.Handler) (*control, error) {
	l, _ := inherited.(*net.UnixListener)
	if l != nil && l.Addr().String() != path {
		l.Close() // another place now
		l = nil
	}
	if l == nil {
		var err error
		if l, err = listenControl(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	l.SetUnlinkOnClose(false)
	c := &control{served: make(chan error, 1), path: path, socket: l}
	c.server.Handler = answers
	c.server.ReadTimeout, c.server.WriteTimeout = controlPatience, 2*controlPatience
	go func() { c.served <- c.server.Serve(l) }()
	return c, nil
}

func listenControl(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// leave lets another process, which has the socket too, take the questions. Those that came go on. A nil control has
// none.
func (c *control) leave() error {
	if c == nil || c.left {
		return nil
	}
	c.left = true
	return c.socket.Close()
}

// close lets questions that are being answered finish, and removes the socket. A nil control is closed.
func (c *control) close() error {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	err := c.server.Shutdown(ctx)
	<-c.served
	if !c.left {
		err = errors.Join(err, os.Remove(c.path))
	} else if errors.Is(err, net.ErrClosed) {
		err = nil // by leave
	}
	return err
}

// statusAnswer answers GET /status.
func statusAnswer(status func() tunnelStatus) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status()) // the asker has gone: nobody is left to tell
	}
}

// errNobody says that no process answers at a socket.
var errNobody = errors.New("nobody answers")

// errNoTunnel says that no process owns a tunnel.
var errNoTunnel = errors.New("no tunnel is up; write genkan tunnel up")

// askTunnel puts a question to the owner of a tunnel.
func askTunnel(ctx context.Context, cfg tunnel.Config, method, path string) ([]byte, error) {
	text, err := ask(ctx, controlSocket(cfg), method, path, nil)
	if errors.Is(err, errNobody) {
		err = errNoTunnel
	}
	return text, err
}

// ask puts a question to the process behind a socket and returns what it says. A refusal is an error with its words.
func ask(ctx context.Context, socket, method, path string, body io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*controlPatience)
	defer cancel()
	answer, err := askStream(ctx, socket, method, path, body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return io.ReadAll(io.LimitReader(answer, 1<<20))
}

// askStream is ask for an answer that comes bit by bit, until ctx ends. The caller closes it.
func askStream(ctx context.Context, socket, method, path string, body io.Reader) (io.ReadCloser, error) {
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://genkan"+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF): // it ends just now
		return nil, errNobody
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied; ask as root", socket)
	case err != nil:
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return nil, errors.Join(err, errors.New(strings.TrimSpace(string(text))))
}
