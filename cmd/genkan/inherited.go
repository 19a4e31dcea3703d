package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"

	"genkan/tunnel"
)

// An upgrade uses what systemd's socket activation uses: descriptors from 3 on, LISTEN_FDS of them, their names in
// LISTEN_FDNAMES. Those of an upgrade have names that begin so, and upgradeVariable is set: systemd also says LISTEN_PID,
// which nobody knows before the fork.
const (
	ourName         = "genkan."
	upgradeVariable = "GENKAN_UPGRADE"
)

// The descriptors of an upgrade.
const (
	fdListener      = "listener"       // of the proxy; many
	fdLine          = "line"           // to the process before
	fdControl       = "control"        // answers subcommands
	fdTunnelControl = "tunnel-control" // answers about the tunnel
	fdAdmin         = "admin"          // the admin listener
	fdInstance      = "instance"       // the lock of the state directory
	fdTunnel        = "tunnel."        // begins the names of the tunnel's own
)

// inherited are the descriptors that systemd, or the process before, has given to this one.
type inherited struct {
	sockets []*os.File          // to listen on
	files   map[string]*os.File // the others, by name
	older   *line               // the process before, which waits; nil: none
	ports   []tunnel.Port       // that the tunnel admits from the start
}

// inherit takes what was given to this process; it is for the one that calls first.
func inherit() (inherited, error) {
	in := inherited{files: map[string]*os.File{}}
	upgrading := os.Getenv(upgradeVariable) != ""
	if upgrading {
		if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
			return in, err
		}
		if err := os.Unsetenv(upgradeVariable); err != nil {
			return in, err
		}
	}
	for _, f := range activation.Files(true) {
		name, ours := strings.CutPrefix(f.Name(), ourName)
		if !upgrading || !ours || name == fdListener {
			in.sockets = append(in.sockets, f)
		} else {
			in.files[name] = f
		}
	}
	if !upgrading {
		return in, nil
	}
	f := in.take(fdLine)
	if f == nil {
		return in, fmt.Errorf("%s is set, and there is no descriptor %q; unset it", upgradeVariable, ourName+fdLine)
	}
	var err error
	in.older, err = newLine(f)
	return in, err
}

// take gives a descriptor, nil where there is none.
func (in *inherited) take(name string) *os.File {
	f := in.files[name]
	delete(in.files, name)
	return f
}

// tunnel gives those of the tunnel.
func (in *inherited) tunnel() map[string]*os.File {
	all := map[string]*os.File{}
	for name := range in.files {
		if short, is := strings.CutPrefix(name, fdTunnel); is {
			all[short] = in.take(name)
		}
	}
	return all
}

// takeListener makes a listener of a descriptor, nil where there is none.
func (in *inherited) takeListener(name string) (net.Listener, error) {
	f := in.take(name)
	if f == nil {
		return nil, nil
	}
	defer f.Close()
	return net.FileListener(f)
}

// closeRest closes what nobody wanted.
func (in *inherited) closeRest() {
	for name := range in.files {
		in.take(name).Close()
	}
}

// A bequest is what a process gives to the one after it, by name. The names may be given more than once.
type bequest struct {
	names []string
	files []*os.File
}

func (b *bequest) add(name string, files ...*os.File) {
	for _, f := range files {
		b.names, b.files = append(b.names, ourName+name), append(b.files, f)
	}
}

func (b *bequest) close() {
	for _, f := range b.files {
		f.Close()
	}
}

// environment is this process's, for one that inherits b.
func (b *bequest) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "WATCHDOG_PID", upgradeVariable: // of this process
		default:
			env = append(env, v)
		}
	}
	return append(env, "LISTEN_FDS="+strconv.Itoa(len(b.files)), "LISTEN_FDNAMES="+strings.Join(b.names, ":"), upgradeVariable+"=1")
}

// descriptors are the numbers of b's files. File.Fd would make them block.
func (b *bequest) descriptors() ([]uintptr, error) {
	var fds []uintptr
	for _, f := range b.files {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds = append(fds, fd) })
		}
		if err != nil {
			return nil, err
		}
	}
	return fds, nil
}
