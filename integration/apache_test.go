package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// apacheConfig logs the peer, what X-Forwarded-For says, the request line and
// the status.
const apacheConfig = `
ServerRoot %[1]s
ServerName backend.example
DefaultRuntimeDir run
PidFile run/httpd.pid
Mutex file:run default
Listen %[2]s:80
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /etc/mime.types
User www-data
Group www-data
ErrorLog error.log
LogFormat "peer=%%a xff=%%{X-Forwarded-For}i \"%%r\" %%>s" t
CustomLog access.log t
DocumentRoot htdocs
<Directory %[1]s/htdocs>
  Require all granted
</Directory>
`

const apachePage = "IPv4 only, and content with it.\n"

// An apache is Debian's Apache httpd in the backend.
type apache struct{ dir string }

func startApache(t *testing.T, w *world) *apache {
	t.Helper()
	program := require.Program(t, "apache2", "apache2")
	a := &apache{dir: filepath.Join(w.Dir, "apache")}
	for _, dir := range []string{"run", "htdocs"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Run as www-data, it writes below run only; the logs are opened as root.
	mustWrite(t, filepath.Join(a.dir, "htdocs", "index.html"), apachePage)
	mustWrite(t, filepath.Join(a.dir, "httpd.conf"), fmt.Sprintf(apacheConfig, a.dir, lab.BackendV4))
	start(t, w.Backend, program, "-DFOREGROUND", "-f", filepath.Join(a.dir, "httpd.conf"))
	waitListening(t, w.Backend, lab.BackendV4.String(), 80)
	return a
}

// requests are the lines of the access log so far.
func (a *apache) requests(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// waitRequest waits for a line of the access log: Apache writes it after the answer.
func (a *apache) waitRequest(t *testing.T, line string) {
	t.Helper()
	waitUntil(t, 20*time.Second, "line in Apache's log", func() error {
		lines := a.requests(t)
		for _, l := range lines {
			if l == line {
				return nil
			}
		}
		return fmt.Errorf("no %q in:\n%s", line, strings.Join(lines, "\n"))
	})
}
