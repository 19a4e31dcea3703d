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
Listen %[2]s:80
Listen %[2]s:8080
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
LogFormat "client=%%a peer=%%{c}a xff=%%{X-Forwarded-For}i \"%%r\" %%>s" t
CustomLog access.log t
DocumentRoot htdocs
<Directory %[1]s/htdocs>
  <RequireAll>
    %[3]s
  </RequireAll>
</Directory>
<VirtualHost %[2]s:8080>
  ServerName backend.example
  RemoteIPProxyProtocol On
</VirtualHost>
`

// StartApache starts Apache httpd on port 80 of the backend, and on port 8080
// with the PROXY protocol required. rules are who is served, "Require all
// granted".
func StartApache(t testing.TB, l *lab.Lab, rules string) *Server {
	t.Helper()
	program := require.Program(t, "apache2", "apache2")
	dir := folder(t, l, "apache", "run", "htdocs")
	write(t, filepath.Join(dir, "htdocs", "index.html"), Page)
	write(t, filepath.Join(dir, "httpd.conf"), fmt.Sprintf(apacheConfig, dir, lab.BackendV4, rules))
	s := run(t, l, dir, program, "-DFOREGROUND", "-f", filepath.Join(dir, "httpd.conf"))
	s.log = filepath.Join(dir, "access.log")
	waitConnect(t, l, 80)
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
  root %[1]s/htdocs;
  server {
    listen %[2]s:8090;
  }
  server {
    listen %[2]s:8091 proxy_protocol;
    set_real_ip_from %[3]s;
    real_ip_header proxy_protocol;
  }
}
`

// StartNginx starts nginx on port 8090 of the backend, and on port 8091 with
// the PROXY protocol required.
func StartNginx(t testing.TB, l *lab.Lab) *Server {
	t.Helper()
	program := require.Program(t, "nginx", "nginx")
	dir := folder(t, l, "nginx", "htdocs")
	write(t, filepath.Join(dir, "htdocs", "index.html"), Page)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(nginxConfig, dir, lab.BackendV4, lab.InsideV4))
	s := run(t, l, dir, program, "-c", filepath.Join(dir, "nginx.conf"))
	s.log = filepath.Join(dir, "access.log")
	waitConnect(t, l, 8090)
	return s
}
