package tunnel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"genkan/tunnel/user"
)

// fileLock is the name in Files of the lock that says who owns the tunnel.
const fileLock = "lock"

// Files gives duplicates of what another process needs to go on with the tunnel
// by Config.Inherited: the lock, so that nobody comes between, and what the
// datapath reads packets from. The caller closes them.
//
// The other process calls Up when Serve has returned here. Then this one calls
// Leave; or Serve again, where the other one has failed and is gone.
func (t *Tunnel) Files() (user.Files, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errors.New("tunnel: closed")
	}
	files := user.Files{}
	if dp, ok := t.dp.(interface{ files() (user.Files, error) }); ok {
		var err error
		if files, err = dp.files(); err != nil {
			return nil, fmt.Errorf("tunnel: %w", err)
		}
	}
	fd, err := unix.FcntlInt(t.file.lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tunnel: %w", os.NewSyscallError("fcntl", err)), files.Close())
	}
	files[fileLock] = os.NewFile(uintptr(fd), fileLock)
	return files, nil
}

// files are those of the TUN device.
func (u *userspace) files() (user.Files, error) {
	if u.dev == nil {
		return user.Files{}, nil
	}
	return u.dev.Files(u.link)
}
