package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"genkan/cmd/genkan/config"
	"genkan/tunnel"
)

// confinedVariable is set for a process that has given up what it does not need, and for those that it starts in its
// place: the kernel keeps both for good.
const confinedVariable = "GENKAN_CONFINED"

// keptCapabilities are those that a Genkan needs: tunnel and filter, raw sockets, ports below 1024, eBPF.
var keptCapabilities = [...]int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_BPF, unix.CAP_PERFMON}

// mayConfine reports whether there is something left to give up.
func mayConfine() bool { return os.Getenv(confinedVariable) == "" && os.Getuid() == 0 }

// confine gives up, for good, what a Genkan does not need: root's other rights, where the configuration names a user;
// and, where the kernel has Landlock, writing anywhere but to where state and logs are kept. All threads of a process
// have to change at once, which only execve(2) can: the program begins again, with the same process number, and
// confine returns only if it has nothing to do, or by an error.
func confine(sketch config.Sketch, socket string, log *slog.Logger) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	folders := writable(sketch, socket)
	for _, dir := range folders {
		if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EROFS) {
			return err
		}
	}
	runtime.LockOSThread() // what follows is of this thread, until it takes all others' place
	defer runtime.UnlockOSThread()
	locked, err := landlock(folders)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if sketch.User != "" {
		if err := become(sketch.User, folders, log); err != nil {
			return fmt.Errorf("user %q: %w", sketch.User, err)
		}
	} else if !locked {
		return nil // nothing was given up
	}
	log.Debug("confined", "user", sketch.User, "landlock", locked)
	err = unix.Exec(path, os.Args, append(os.Environ(), confinedVariable+"=1"))
	return fmt.Errorf("begin again as %q: %w", path, err)
}

// writable are the folders that a Genkan writes to.
func writable(sketch config.Sketch, socket string) []string {
	dirs := []string{sketch.StateDir, sketch.Storage, tunnel.DefaultStateDir, logFolder}
	for _, file := range append(sketch.Logs, socket) {
		dirs = append(dirs, filepath.Dir(file))
	}
	slices.Sort(dirs)
	return slices.DeleteFunc(slices.Compact(dirs), func(dir string) bool { return !filepath.IsAbs(dir) || dir == "/" })
}

// logFolder is where a reload may put a log that there was none of before.
const logFolder = "/var/log/genkan"

// tunDevice is what makes TUN devices; CAP_NET_ADMIN is needed besides.
const tunDevice = "/dev/net/tun"

// become makes this thread an ordinary user's that has just keptCapabilities, now and after the next execve.
func become(name string, folders []string, log *slog.Logger) error {
	who, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("%w; write useradd --system %s", err, name)
	}
	uid, uidErr := strconv.Atoi(who.Uid)
	gid, gidErr := strconv.Atoi(who.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return err
	}
	if uid == 0 {
		return errors.New("is root; name another one, or leave user out")
	}
	for _, dir := range folders {
		if err := giveAway(dir, uid, gid); err != nil {
			return err
		}
	}
	if info, err := os.Stat(tunDevice); err == nil && info.Mode().Perm()&0o006 != 0o006 {
		log.Warn("only root may open the tunnel's device; write chmod 666 "+tunDevice+", as udev does", "user", name)
	}
	var bits [2]uint32
	for _, c := range keptCapabilities {
		bits[c/32] |= 1 << (c % 32)
	}
	var all [2]unix.CapUserData
	for i := range all {
		all[i] = unix.CapUserData{Effective: bits[i], Permitted: bits[i], Inheritable: bits[i]}
	}
	steps := []func() error{
		func() error { return unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0) },
		func() error { return rawSet(unix.SYS_SETGROUPS, 0, 0, 0) },
		func() error { return rawSet(unix.SYS_SETRESGID, gid, gid, gid) },
		func() error { return rawSet(unix.SYS_SETRESUID, uid, uid, uid) },
		func() error {
			return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &all[0])
		},
		func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) },
	}
	for _, c := range keptCapabilities {
		steps = append(steps, func() error { return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("give up root's rights: %w", err)
		}
	}
	return nil
}

// rawSet changes this thread only, which the functions of package syscall do not.
func rawSet(call uintptr, a, b, c int) error {
	if _, _, errno := unix.RawSyscall(call, uintptr(a), uintptr(b), uintptr(c)); errno != 0 {
		return errno
	}
	return nil
}

// giveAway makes a folder of ours, with what is in it, the user's.
func giveAway(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}
