package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const vsftpdConfig = `
listen=YES
listen_ipv6=NO
listen_address=%[2]s
background=NO
anonymous_enable=YES
local_enable=NO
anon_root=%[1]s/root
ftp_username=ftp
write_enable=YES
anon_upload_enable=YES
anon_umask=022
secure_chroot_dir=%[1]s/empty
pasv_min_port=50000
pasv_max_port=50009
connect_from_port_20=YES
log_ftp_protocol=YES
vsftpd_log_file=%[1]s/vsftpd.log
`

// StartVsftpd starts vsftpd on port 21 of the backend, for anonymous users:
// files are in pub, and may be put into incoming. Its data ports are 50000 to
// 50009. more are further lines of its configuration.
func StartVsftpd(t testing.TB, l *lab.Lab, more ...string) *Server {
	t.Helper()
	program := require.Program(t, "/usr/sbin/vsftpd", "vsftpd")
	dir := folder(t, l, "ftp", "root/pub", "root/incoming", "empty")
	if out, err := exec.Command("chown", "ftp:", filepath.Join(dir, "root/incoming")).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	// vsftpd refuses a chroot that its user can write.
	if err := os.Chmod(filepath.Join(dir, "root"), 0o555); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "vsftpd.conf")
	write(t, config, fmt.Sprintf(vsftpdConfig, dir, lab.BackendV4)+strings.Join(more, "\n")+"\n")
	s := run(t, l, dir, program, config)
	s.log = filepath.Join(dir, "vsftpd.log")
	waitGreeting(t, l, 21, "", "220 ")
	return s
}
