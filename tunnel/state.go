package tunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A state is what one tunnel has changed on the host. It is written before
// each change, so that after a crash the file names at least what stands.
type state struct {
	Version   int       `json:"version"`
	Boot      string    `json:"boot"`      // a change does not outlive the boot it was made in
	Namespace uint64    `json:"namespace"` // inode of the network namespace
	Pid       int       `json:"pid"`
	Since     time.Time `json:"since"`
	Datapath  string    `json:"datapath"`
	Index     int       `json:"index"` // of the interface: another one of its name is not ours
	Steps     []step    `json:"steps"` // in the order they were made
}

const stateVersion = 1

// ownsLink reports whether the interface of our name is the one that was made.
func (s *state) ownsLink(link netlink.Link) bool {
	return link.Attrs().Index == s.Index || s.Index == 0 // 0: killed while making it
}

// hasLink reports whether the interface that was made is there; one that cannot
// be looked at is taken to be.
func (s *state) hasLink(name string) bool {
	link, err := netlink.LinkByName(name)
	return !isGone(err) && (err != nil || s.ownsLink(link))
}

// defaultMetric is that of the default route that was made, 0 if none was.
func (s *state) defaultMetric() int {
	for _, st := range s.Steps {
		if st.Op == opRoute && st.Dst.Bits() == 0 {
			return st.Metric
		}
	}
	return 0
}

// A stateFile keeps the state of one tunnel interface and the lock that says
// that a living process owns it.
type stateFile struct {
	path string
	lock *os.File // of path with .lock in the place of .json; its own name may be another process's
}

// openState takes the lock for an interface's state and returns the state that
// an earlier process left, nil if none. A lock that another process holds is
// an error that names it.
//
// inherited is the lock of a process that gave it to this one, or nil.
func openState(dir, iface string, inherited *os.File) (*stateFile, *state, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("tunnel: state directory: %w", err)
	}
	f := &stateFile{path: filepath.Join(dir, iface+".json")}
	lock, err := openLock(f.lockPath(), inherited)
	if err != nil {
		return nil, nil, fmt.Errorf("tunnel: state lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil, fmt.Errorf("tunnel: %q belongs to a running process (%s); stop it first, or give this tunnel another interface name", iface, f.owner())
		}
		return nil, nil, fmt.Errorf("tunnel: lock %q: %w", lock.Name(), err)
	}
	f.lock = lock
	left, err := f.load()
	if err != nil {
		return nil, nil, errors.Join(err, f.unlock())
	}
	return f, left, nil
}

func (f *stateFile) lockPath() string { return strings.TrimSuffix(f.path, ".json") + ".lock" }

// openLock opens the lock file, or takes the one that was inherited where it is
// that: then its lock is ours already.
func openLock(path string, inherited *os.File) (*os.File, error) {
	if inherited != nil {
		have, haveErr := inherited.Stat()
		want, wantErr := os.Stat(path)
		if haveErr == nil && wantErr == nil && os.SameFile(have, want) {
			return inherited, nil
		}
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// owner names the process that the state file speaks of.
func (f *stateFile) owner() string {
	s, err := f.load()
	if err != nil || s == nil {
		return "process unknown"
	}
	return fmt.Sprintf("process %d, since %s", s.Pid, s.Since.Format(time.RFC3339))
}

func (f *stateFile) load() (*state, error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tunnel: state: %w", err)
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("tunnel: state file %q: %w; look what is left by \"ip -6 route\" and \"nft list tables\", then delete the file", f.path, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("tunnel: state file %q: version %d, this program knows %d; take the tunnel down with the version that made it", f.path, s.Version, stateVersion)
	}
	return &s, nil
}

// save replaces the file as a whole.
func (f *stateFile) save(s *state) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("tunnel: state: %w", err)
	}
	if err := os.WriteFile(f.path+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("tunnel: state: %w", err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		return fmt.Errorf("tunnel: state: %w", err)
	}
	return nil
}

// remove deletes the file, and the lock with it.
func (f *stateFile) remove() error {
	err := os.Remove(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(f.lockPath()), f.unlock())
}

// unlock lets another process own the state.
func (f *stateFile) unlock() error { return f.lock.Close() }

// bootID tells one boot of the machine from another.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("tunnel: boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
