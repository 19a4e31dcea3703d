package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"genkan/tunnel"
)

// controlPatience bounds what one question to a running tunnel may take; taking a tunnel down is the longest.
const controlPatience = 30 * time.Second

// maxAnswer bounds what a running Genkan is listened to, in bytes: the state of 10,000 sites is some of it.
const maxAnswer = 64 << 20

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

// A control answers questions on a unix socket, which root and a group can reach.
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
	if err := shareControl(path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// controlGroup is the group that may ask, where there is one of the name.
const controlGroup = "genkan"

// shareControl lets root and the group reach a socket: root alone where there is no such group, or this process may not
// give the socket to it.
func shareControl(path string) error {
	if group, err := user.LookupGroup(controlGroup); err == nil {
		if gid, err := strconv.Atoi(group.Gid); err == nil {
			_ = os.Chown(path, -1, gid) // the unit does it then
		}
	}
	return os.Chmod(path, 0o660)
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
	return io.ReadAll(io.LimitReader(answer, maxAnswer))
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
		return nil, fmt.Errorf("%s: %w; ask as root", socket, os.ErrPermission)
	case err != nil:
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var f fault
	if json.Unmarshal(text, &f) != nil || f.Error == "" {
		f.Error = strings.TrimSpace(string(text))
	}
	return nil, errors.New(f.Error)
}

// askRun asks the running Genkan.
func askRun(ctx context.Context, socket, method, path string, body io.Reader) ([]byte, error) {
	text, err := ask(ctx, socket, method, path, body)
	if errors.Is(err, errNobody) {
		err = fmt.Errorf("no Genkan answers at %s; start genkan run as root", socket)
	}
	return text, err
}

// askFor asks the running Genkan for something.
func askFor[T any](ctx context.Context, socket, path string) (v T, err error) {
	text, err := askRun(ctx, socket, http.MethodGet, path, nil)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(text, &v)
}

// askChange asks the running Genkan to change something.
func askChange[T any](ctx context.Context, socket, method, path string, question any) (v T, err error) {
	body, err := json.Marshal(question)
	if err != nil {
		return v, err
	}
	text, err := askRun(ctx, socket, method, path, bytes.NewReader(body))
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(text, &v)
}
