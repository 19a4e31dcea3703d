package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is the guest's init: it mounts what programs expect, loads the
// modules, runs the tests and switches the machine off. Children of a test are
// this program again, with a role in their environment.
func TestMain(m *testing.M) {
	if os.Getpid() != 1 {
		os.Exit(0)
	}
	if err := prepare(); err != nil {
		fmt.Println("guest:", err)
		fmt.Println("GUEST-EXIT 2")
	} else {
		fmt.Printf("GUEST-EXIT %d\n", m.Run())
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func prepare() error {
	for _, m := range [][2]string{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"bpf", "/sys/fs/bpf"},
	} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	files, err := filepath.Glob("/mod/*.ko") // sorted: their names begin with the order
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := load(name); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return errors.Join(os.Setenv("GENKAN_REQUIRE", "all"), os.Setenv("PATH", "/bin"))
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
