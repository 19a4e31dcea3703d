package servers

import (
	"fmt"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const phpConfig = `
ServerRoot %[1]s
ServerName backend.example
DefaultRuntimeDir run
PidFile run/httpd.pid
Mutex file:run default
Listen %[2]s:8001
Listen %[2]s:8002
Listen %[2]s:8003
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
LoadModule php_module /usr/lib/apache2/modules/libphp8.2.so
TypesConfig /etc/mime.types
AddHandler application/x-httpd-php .php
DirectoryIndex index.php
StartServers 2
KeepAliveTimeout 60
User www-data
Group www-data
ErrorLog error.log
LogFormat "client=%%a peer=%%{c}a reused=%%k \"%%r\" %%>s" t
CustomLog access.log t
DocumentRoot htdocs
AcceptPathInfo On
<Directory %[1]s/htdocs>
  Require all granted
  FallbackResource /index.php
</Directory>
<VirtualHost %[2]s:8002>
  ServerName backend.example
  RemoteIPHeader X-Forwarded-For
  RemoteIPInternalProxy %[3]s
</VirtualHost>
<VirtualHost %[2]s:8003>
  ServerName backend.example
  RemoteIPHeader Pseudo-IPv4
  RemoteIPInternalProxy %[3]s
</VirtualHost>
`

// phpPage is an application that knows only IPv4: it says what it takes the
// client for. "unsafe" is how applications go wrong that believe headers, as
// WordPress' get_unsafe_client_ip does.
const phpPage = `<?php
$long = ip2long($_SERVER['REMOTE_ADDR']);
$unsafe = '';
foreach (['HTTP_CLIENT_IP', 'HTTP_X_FORWARDED_FOR', 'HTTP_X_FORWARDED', 'HTTP_X_CLUSTER_CLIENT_IP', 'HTTP_FORWARDED_FOR', 'HTTP_FORWARDED', 'REMOTE_ADDR'] as $header) {
  if (!empty($_SERVER[$header])) { $unsafe = explode(',', $_SERVER[$header])[0]; break; }
}
header('Content-Type: application/json');
echo json_encode([
  'addr' => $_SERVER['REMOTE_ADDR'],
  'long' => $long,
  'back' => $long === false ? '' : long2ip($long),
  'column' => substr($_SERVER['REMOTE_ADDR'], 0, 15),
  'unsafe' => $unsafe,
  'xff' => $_SERVER['HTTP_X_FORWARDED_FOR'] ?? '',
  'real' => $_SERVER['HTTP_X_CLIENT_IPV6'] ?? '',
  'https' => ($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https',
  'length' => strlen(file_get_contents('php://input')),
]), "\n";
`

// StartPHP starts Apache httpd with PHP in it, on ports of the backend: 8001
// knows the socket's peer alone; on 8002 mod_remoteip believes the front's
// X-Forwarded-For, on 8003 its Pseudo-IPv4. more are further files.
func StartPHP(t testing.TB, l *lab.Lab, more map[string]string) *Server {
	t.Helper()
	dir := folder(t, l, "php", "run", "htdocs")
	write(t, filepath.Join(dir, "htdocs", "index.php"), phpPage)
	for name, text := range more {
		write(t, filepath.Join(dir, "htdocs", name), text)
	}
	return runPHP(t, l, dir)
}

// runPHP starts Apache httpd with PHP for the application in dir/htdocs.
func runPHP(t testing.TB, l *lab.Lab, dir string) *Server {
	t.Helper()
	program := require.Program(t, "apache2", "apache2")
	require.File(t, "/usr/lib/apache2/modules/libphp8.2.so", "Debian package libapache2-mod-php8.2")
	write(t, filepath.Join(dir, "httpd.conf"), fmt.Sprintf(phpConfig, dir, lab.BackendV4, lab.InsideV4))
	s := run(t, l, dir, program, "-DFOREGROUND", "-f", filepath.Join(dir, "httpd.conf"))
	s.log = filepath.Join(dir, "access.log")
	waitConnect(t, l, 8001)
	return s
}
