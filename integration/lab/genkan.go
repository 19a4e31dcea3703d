package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// RelayConfig is the configuration of the lab's border relay: Genkan again, in
// the other role.
var RelayConfig = fmt.Sprintf(`[tunnel]
role   = "relay"
prefix = %q
local  = %q
`, SixRD, RelayV4)

// private runs the rest of its arguments with folders of the namespace's own
// in place of /run and /var/lib: two daemons of one machine would otherwise
// find each other's state.
const private = `mount --bind "$1" /run && mount --bind "$2" /var/lib && shift 2 && exec "$@"`

// Genkan starts "program run -c FILE" in the namespace, with config as the
// file. Its state stays in the lab's folder for the next start.
func (l *Lab) Genkan(n *Namespace, program, config string) (*Process, error) {
	file := l.ConfigFile(n)
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	cmd, err := l.Private(n, program, "run", "-c", file)
	if err != nil {
		return nil, err
	}
	return n.RunCmd(cmd)
}

// ConfigFile is where Genkan puts the configuration of namespace n.
func (l *Lab) ConfigFile(n *Namespace) string { return filepath.Join(l.Dir, n.Name+".toml") }

// Private is a command that sees the same /run and /var/lib as the Genkan of
// namespace n, and nothing of the machine's.
func (l *Lab) Private(n *Namespace, program string, args ...string) (*exec.Cmd, error) {
	run, lib := filepath.Join(l.Dir, n.Name, "run"), filepath.Join(l.Dir, n.Name, "lib")
	for _, dir := range []string{run, lib} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", private, "sh", run, lib, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd, nil
}
