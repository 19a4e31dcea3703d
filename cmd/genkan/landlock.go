package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What Landlock forbids outside of the folders that are named: to make, write, cut, rename and remove. Reading stays
// free: the next reload may name any file.
const (
	landlockFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	landlockDir  = landlockFile | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM
)

// systemPlaces are written to besides: the kernel's switches for the tunnel, its device, pinned programs, and what any
// program may write to.
var systemPlaces = [...]string{"/proc", "/sys/fs/bpf", "/dev/net/tun", "/dev/null", "/dev/pts", "/dev/tty", "/tmp", "/var/tmp"}

// landlock keeps this thread, and all that come from it, from writing to other files than those in the folders. It
// reports false where the kernel has none, or it is switched off.
func landlock(folders []string) (bool, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return false, nil // ENOSYS, EOPNOTSUPP; EPERM of a system call filter
	}
	file, dir := uint64(landlockFile), uint64(landlockDir)
	if version >= 2 { // without it every rename between two folders is refused
		dir |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		file |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
		dir |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr := dir // struct landlock_ruleset_attr: its first field, handled_access_fs
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return false, errno
	}
	defer unix.Close(int(fd))
	for _, path := range append(folders, systemPlaces[:]...) {
		if err := landlockAllow(int(fd), path, file, dir); err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return false, err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return false, errno
	}
	return true, nil
}

// landlockAllow lets a file or folder be written to. One that is not there cannot be.
func landlockAllow(ruleset int, path string, file, dir uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	access := file
	if info.IsDir() {
		access = dir
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
