package servers

import (
	"fmt"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const apacheConfig = `
ServerRoot %[1]s
ServerName backend.example
DefaultRuntimeDir run
PidFile run/httpd.pid
Mutex file:run default
Listen %[2]s:%[3]d
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_host_module /usr/lib/apache2/modules/mod_authz_host.so
LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /etc/mime.types
User www-data
Group www-data
ErrorLog error.log
LogFormat "client=%%a peer=%%{c}a \"%%r\" %%>s" t
CustomLog access.log t
DocumentRoot htdocs
<Directory %[1]s/htdocs>
  Require all denied
  Require ip %[4]s
</Directory>
RemoteIPProxyProtocol On
`

// StartApacheProxy starts Apache httpd on a port of the backend where the
// PROXY protocol is required. It serves only the clients of one network.
func StartApacheProxy(t testing.TB, l *lab.Lab, port int, allowed string) *Server {
	t.Helper()
	program := require.Program(t, "apache2", "apache2")
	dir := folder(t, l, "apache-proxy", "run", "htdocs")
	write(t, filepath.Join(dir, "htdocs", "index.html"), Page)
	write(t, filepath.Join(dir, "httpd.conf"), fmt.Sprintf(apacheConfig, dir, lab.BackendV4, port, allowed))
	s := run(t, l, dir, program, "-DFOREGROUND", "-f", filepath.Join(dir, "httpd.conf"))
	s.log = filepath.Join(dir, "access.log")
	waitConnect(t, l, port)
	return s
}

// Page is what the web servers answer.
const Page = "IPv4 only, and content with it.\n"

const nginxConfig = `
daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr;
user www-data;
events { }
http {
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  log_format t 'client=$remote_addr peer=$realip_remote_addr "$request" $status';
  access_log %[1]s/access.log t;
  server {
    listen %[2]s:%[3]d proxy_protocol;
    set_real_ip_from %[4]s;
    real_ip_header proxy_protocol;
    root %[1]s/htdocs;
  }
}
`

// StartNginxProxy starts nginx on a port of the backend where the PROXY
// protocol is required.
func StartNginxProxy(t testing.TB, l *lab.Lab, port int) *Server {
	t.Helper()
	program := require.Program(t, "nginx", "nginx")
	dir := folder(t, l, "nginx-proxy", "htdocs")
	write(t, filepath.Join(dir, "htdocs", "index.html"), Page)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(nginxConfig, dir, lab.BackendV4, port, lab.InsideV4))
	s := run(t, l, dir, program, "-c", filepath.Join(dir, "nginx.conf"))
	s.log = filepath.Join(dir, "access.log")
	waitConnect(t, l, port)
	return s
}
