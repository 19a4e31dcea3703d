package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An instance is the lock that keeps a second process from the same state directory. It holds for as long as one of the
// processes lives that have its descriptor.
type instance struct{ file *os.File }

// alone takes the lock of the state directory, or the one that the process before has given over. Where the directory
// cannot be written there is none.
func (f *front) alone() (*instance, error) {
	inherited := f.from.take(fdInstance)
	dir := f.plan.Proxy.StateDir
	if dir == "" {
		return nil, nil
	}
	path := filepath.Join(dir, "genkan.lock")
	if inherited != nil {
		have, haveErr := inherited.Stat()
		want, wantErr := os.Stat(path)
		if haveErr == nil && wantErr == nil && os.SameFile(have, want) {
			return &instance{inherited}, (&instance{inherited}).sign()
		}
		inherited.Close() // of another state_dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, f.without(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, f.without(err)
	}
	one := &instance{file}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another Genkan (process %s) has %s; stop it, replace it by genkan upgrade, or give this one its own state_dir", one.owner(), dir)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return one, one.sign()
}

// without goes on without a lock where nothing can be kept anyway.
func (f *front) without(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		f.log.Warn("nothing can be kept, and a second process would not be noticed", "error", err)
		return nil
	}
	return err
}

// sign writes down whose lock it is.
func (i *instance) sign() error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := i.file.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("%s: %w", i.file.Name(), err)
	}
	return i.file.Truncate(int64(len(text)))
}

// owner is who has signed.
func (i *instance) owner() string {
	text := make([]byte, 20)
	n, _ := i.file.ReadAt(text, 0)
	if pid := strings.TrimSpace(string(text[:n])); pid != "" {
		return pid
	}
	return "unknown"
}

// close lets another process have the directory. A nil instance has no lock.
func (i *instance) close() {
	if i != nil {
		i.file.Close()
	}
}

// duplicate gives the lock for another process. The caller closes it.
func (i *instance) duplicate() (*os.File, error) {
	fd, err := unix.FcntlInt(i.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), i.file.Name()), nil
}

// signAgain is sign after another process has signed in vain.
func (i *instance) signAgain() error {
	if i == nil {
		return nil
	}
	return i.sign()
}
