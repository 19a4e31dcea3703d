package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// nameDir is where iproute2 looks for named namespaces.
const nameDir = "/run/netns"

// A Namespace is one network namespace. One thread lives in it from newNamespace
// to close: programs are started there, so that their parent-death signal
// fires when this process dies and not earlier.
type Namespace struct {
	Name string // short: "front"
	Path string // what "ip netns exec" takes, empty for one without a name

	fd   netns.NsHandle
	nl   *netlink.Handle
	jobs chan func()
	done chan struct{}
	once sync.Once
}

// newNamespace makes an empty namespace with loopback up. A non-empty path is
// the name under which iproute2 sees it.
func newNamespace(name, path string) (*Namespace, error) {
	n := &Namespace{Name: name, Path: path, jobs: make(chan func()), done: make(chan struct{})}
	made := make(chan error)
	go n.run(made)
	if err := <-made; err != nil {
		close(n.jobs)
		<-n.done
		return nil, fmt.Errorf("lab: namespace %q: %w", name, explain(err))
	}
	nl, err := netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE)
	if err != nil {
		n.close()
		return nil, fmt.Errorf("lab: namespace %q: netlink: %w", name, err)
	}
	n.nl = nl
	if err := n.up("lo"); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// run owns the namespace's thread until jobs is closed. The thread is never
// given back to the scheduler: it ends with this goroutine.
func (n *Namespace) run(made chan<- error) {
	defer close(n.done)
	runtime.LockOSThread()
	var err error
	if n.fd, err = netns.New(); err == nil && n.Path != "" {
		err = n.show()
	}
	made <- err
	for job := range n.jobs {
		job()
	}
}

// show lets iproute2 find the namespace by its name: a link to our descriptor,
// in place of iproute2's mount, so that the namespace ends with this process
// however that ends.
func (n *Namespace) show() error {
	if err := os.MkdirAll(nameDir, 0o755); err != nil {
		return err
	}
	return os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.fd)), filepath.Join(nameDir, n.Path))
}

// explain adds what to do to the errors of a first run.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN)", err)
	}
	return err
}

// close ends the namespace. Programs that still run in it keep it alive.
func (n *Namespace) close() {
	n.once.Do(func() {
		if n.nl != nil {
			n.nl.Close()
		}
		close(n.jobs)
		<-n.done
		n.fd.Close()
		if n.Path != "" {
			_ = os.Remove(filepath.Join(nameDir, n.Path))
		}
	})
}

// Do calls f on a thread of its own inside the namespace and returns its
// error. Sockets that f opens stay in the namespace; goroutines that f starts
// do not run there.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(n.fd); err != nil {
			done <- fmt.Errorf("lab: enter namespace %q: %w", n.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Start starts cmd in the namespace. It is killed when this process dies.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error, 1)
	n.jobs <- func() { started <- cmd.Start() }
	return <-started
}

// Sysctl writes a value below /proc/sys, "net/ipv6/conf/all/forwarding", as the
// namespace sees it.
func (n *Namespace) Sysctl(key, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
			return fmt.Errorf("lab: namespace %q: sysctl %s=%s: %w", n.Name, key, value, err)
		}
		return nil
	})
}

// namePattern is the form of the names that path gives: the process's id is in it.
var namePattern = regexp.MustCompile(`^genkan([0-9]+)-[a-z0-9]+$`)

func path(pid int, name string) string { return fmt.Sprintf("genkan%d-%s", pid, name) }

// removeStale removes the names of labs whose process is gone: one that was
// killed had no chance to. Their namespaces ended with it.
func removeStale() {
	names, _ := filepath.Glob(filepath.Join(nameDir, "genkan*-*"))
	for _, name := range names {
		m := namePattern.FindStringSubmatch(filepath.Base(name))
		if m == nil {
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err != nil || pid == os.Getpid() || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		_ = os.Remove(name)
	}
}
