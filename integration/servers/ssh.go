package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const sshConfig = `
AddressFamily inet
ListenAddress %[1]s:%[2]d
HostKey %[3]s/hostkey
PidFile none
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
AuthorizedKeysFile %[3]s/id.pub
PerSourceMaxStartups 2
PerSourceNetBlockSize 32:128
LogLevel VERBOSE
Subsystem sftp internal-sftp
`

// An SSH is OpenSSH's sshd, which takes two unauthenticated connections of one
// address and no more.
type SSH struct {
	*Server
	id string // the key that root logs in with
}

// StartSSH starts sshd on a port of the backend.
func StartSSH(t testing.TB, l *lab.Lab, port int) *SSH {
	t.Helper()
	sshd := require.Program(t, "/usr/sbin/sshd", "openssh-server")
	keygen := require.Program(t, "ssh-keygen", "openssh-client")
	dir := folder(t, l, "ssh")
	for _, name := range []string{"hostkey", "id"} {
		out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	config := filepath.Join(dir, "sshd_config")
	write(t, config, fmt.Sprintf(sshConfig, lab.BackendV4, port, dir))
	s := &SSH{run(t, l, dir, sshd, "-D", "-e", "-f", config), filepath.Join(dir, "id")}
	waitGreeting(t, l, port, "", "SSH-2.0-")
	return s
}

// Login is the command line that logs in from an address at HOST and PORT and
// runs a command there.
func (s *SSH) Login(t testing.TB, from, host, port, command string) []string {
	t.Helper()
	ssh := require.Program(t, "ssh", "openssh-client")
	return append(append([]string{ssh}, s.options()...), "-b", from, "-p", port, "root@"+host, command)
}

// Sftp is the command line that runs a file of sftp's commands at HOST (an IPv6
// address in brackets) and PORT.
func (s *SSH) Sftp(t testing.TB, batch, host, port string) []string {
	t.Helper()
	sftp := require.Program(t, "sftp", "openssh-client")
	return append(append([]string{sftp}, s.options()...), "-b", batch, "-P", port, "root@"+host)
}

func (s *SSH) options() []string {
	return []string{"-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=" + os.DevNull, "-i", s.id}
}
