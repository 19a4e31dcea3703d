package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
)

// importNginxCommand is "genkan import nginx".
func importNginxCommand(io streams) *cobra.Command {
	return &cobra.Command{
		Use:   "nginx FILE",
		Short: "Turn a configuration of nginx into Genkan's",
		Long: `Import nginx reads an nginx configuration with what it includes, and prints the sites and forwards that do the same: server
names, listeners, proxied locations, redirects, fixed answers, certificates, limits of size, allow and deny, and streams. Below,
it lists every line that was not carried over. It changes nothing; look at the result, and at what "genkan check" says of it.`,
		Args: arguments(1, 1, "FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			im := nginxImport{dir: nginxDir(args[0])}
			all, err := im.read(args[0], io)
			if err != nil {
				return err
			}
			text, err := config.Format("import.toml", []byte(im.convert(all)))
			if err == nil {
				_, err = fmt.Fprintf(io.out, "%s%s", text, im.rest())
			}
			return err
		},
	}
}

// An nginxImport collects what a configuration of nginx becomes.
type nginxImport struct {
	dir   string // of the main file, which nginx takes all paths from; "": not known
	out   strings.Builder
	left  []string // FILE:LINE: directive: why
	names map[string]int
	files int

	shared      map[string]*listenerTable // by listener
	sharedOrder []string
}

// nginxDir is the folder of nginx.conf. A file of sites-available by itself is in one below it.
func nginxDir(file string) string {
	if file == "-" {
		return ""
	}
	dir := filepath.Dir(file)
	switch filepath.Base(dir) {
	case "sites-available", "sites-enabled", "conf.d", "http.d", "vhosts.d":
		return filepath.Dir(dir)
	}
	return dir
}

// path is a file that nginx names, from the root: what is printed may be read from any folder.
func (im *nginxImport) path(file string) string {
	if filepath.IsAbs(file) || im.dir == "" {
		return file
	}
	if dir, err := filepath.Abs(im.dir); err == nil {
		return filepath.Join(dir, file)
	}
	return file
}

// mostIncluded bounds the files of one configuration.
const mostIncluded = 1000

// read parses a file and puts what it includes in place.
func (im *nginxImport) read(file string, io streams) ([]directive, error) {
	if im.files++; im.files > mostIncluded {
		return nil, fmt.Errorf("%s: more than %d files are included", file, mostIncluded)
	}
	text, err := readSource(file, io.in)
	if err != nil {
		return nil, err
	}
	all, err := parseNginx(file, string(text))
	if err != nil {
		return nil, err
	}
	return im.include(all, io)
}

// include puts in place what a block includes. Paths are from the main file's folder, whichever file names them.
func (im *nginxImport) include(block []directive, io streams) (out []directive, err error) {
	for _, d := range block {
		if d.name != "include" || len(d.args) != 1 {
			if d.block, err = im.include(d.block, io); err != nil {
				return nil, err
			}
			out = append(out, d)
			continue
		}
		glob := d.args[0]
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(im.dir, glob)
		}
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 && !strings.ContainsAny(glob, "*?[") {
			im.leave(d, "there is no such file")
			continue
		}
		for _, f := range files {
			if strings.HasSuffix(f, "mime.types") {
				continue // of what nginx serves itself
			}
			more, err := im.read(f, io)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// leave notes what is not carried over.
func (im *nginxImport) leave(d directive, why string) {
	text := strings.Join(append([]string{d.name}, d.args...), " ")
	if d.depth {
		text += " { … }"
	}
	im.left = append(im.left, fmt.Sprintf("%s:%d: %s: %s", d.file, d.line, text, why))
}

// rest is the list of what was not carried over, as remarks.
func (im *nginxImport) rest() string {
	if len(im.left) == 0 {
		return "\n# Everything was carried over.\n"
	}
	var b strings.Builder
	b.WriteString("\n# Not carried over:\n")
	for _, l := range distinctTexts(im.left) {
		fmt.Fprintf(&b, "#   %s\n", strings.ReplaceAll(l, "\n", " "))
	}
	return b.String()
}

// convert writes the sites and forwards of a whole configuration.
func (im *nginxImport) convert(all []directive) string {
	im.names, im.shared = map[string]int{}, map[string]*listenerTable{}
	for _, d := range all {
		switch {
		case d.name == "http":
			im.http(d.block)
		case d.name == "stream":
			im.stream(d.block)
		case d.name == "server": // a file of sites-available by itself
			im.server(d, all)
		case !slices.Contains(elsewhere, d.name):
			im.unknown([]directive{d}, nil)
		}
	}
	im.writeShared()
	return im.out.String()
}

// elsewhere are directives around servers that the servers look up themselves.
var elsewhere = []string{"upstream", "map", "allow", "deny", "client_max_body_size", "limit_req_zone", "limit_conn_zone", "limit_req", "limit_conn",
	"auth_basic", "auth_basic_user_file", "set_real_ip_from", "real_ip_header", "proxy_set_header", "add_header",
	"ssl_certificate", "ssl_certificate_key", "proxy_timeout"}

func (im *nginxImport) http(block []directive) {
	for _, d := range block {
		if d.name == "server" {
			im.server(d, block)
		}
	}
	im.unknown(block, append([]string{"server"}, elsewhere...))
}

// name makes a name that has not been given yet.
func (im *nginxImport) name(want string) string {
	im.names[want]++
	if n := im.names[want]; n > 1 {
		return want + "-" + strconv.Itoa(n)
	}
	return want
}

// own are directives that mean nothing for Genkan: how nginx itself runs, and
// what Genkan does anyway.
var own = []string{"user", "worker_processes", "worker_cpu_affinity", "worker_rlimit_nofile", "worker_shutdown_timeout", "pid", "error_log", "events",
	"load_module", "sendfile", "tcp_nopush", "tcp_nodelay", "types", "types_hash_max_size", "types_hash_bucket_size", "variables_hash_max_size",
	"default_type", "include", "server_names_hash_bucket_size", "server_names_hash_max_size", "keepalive_timeout", "keepalive_requests",
	"proxy_http_version", "proxy_buffering", "proxy_buffers", "proxy_buffer_size", "proxy_busy_buffers_size", "proxy_request_buffering",
	"server_tokens", "ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets", "ssl_prefer_server_ciphers", "ssl_buffer_size",
	"worker_connections", "proxy_redirect", "http2", "http3", "quic_retry", "log_format", "client_body_buffer_size", "reset_timedout_connection",
	"ssl_preread", "proxy_socket_keepalive", "proxy_ssl_server_name", "proxy_ssl_session_reuse", "limit_req_status", "limit_conn_status",
	"limit_req_log_level", "limit_conn_log_level", "log_not_found", "port_in_redirect", "server_name_in_redirect", "absolute_redirect", "msie_padding"}

// unknown lists what no function here has looked at, with what an operator does instead.
func (im *nginxImport) unknown(block []directive, handled []string) {
	for _, d := range block {
		if slices.Contains(handled, d.name) || slices.Contains(own, d.name) || d.name == "access_log" && slices.Equal(d.args, []string{"off"}) {
			continue
		}
		why := "unknown here"
		for _, instead := range insteads {
			if slices.ContainsFunc(instead.of, func(name string) bool {
				return name == d.name || strings.HasSuffix(name, "_") && strings.HasPrefix(d.name, name)
			}) {
				why = instead.why
				break
			}
		}
		im.leave(d, why)
	}
}

// insteads say what an operator does about directives that are not carried over. What ends with _ is how names begin.
var insteads = []struct {
	of  []string
	why string
}{
	{[]string{"root", "alias", "index", "try_files", "autoindex", "expires", "fastcgi_", "uwsgi_", "scgi_", "include_mime", "disable_symlinks", "etag"},
		"Genkan serves no files and speaks HTTP only; let a web server behind do it, and name that in to"},
	{[]string{"gzip", "gzip_", "brotli", "brotli_"}, "Genkan does not compress; the server behind may"},
	{[]string{"proxy_cache", "proxy_cache_", "proxy_store"}, "Genkan keeps no cache"},
	{[]string{"access_log"}, "write [log] access, or access_log"},
	{[]string{"error_page"}, "write error_pages"},
	{[]string{"ssl_protocols", "ssl_ciphers", "ssl_dhparam", "ssl_ecdh_curve", "ssl_conf_command", "ssl_early_data"}, "tls_profile chooses"},
	{[]string{"ssl_stapling", "ssl_stapling_", "ssl_trusted_certificate", "resolver", "resolver_"}, "Genkan does without"},
	{[]string{"ssl_client_certificate", "ssl_verify_client", "ssl_verify_depth", "ssl_crl"}, "it asks clients who they are, so look at it: write client_ca"},
	{[]string{"auth_request", "auth_request_", "auth_jwt", "auth_jwt_", "satisfy", "secure_link", "secure_link_", "valid_referers", "internal", "limit_except", "geo"},
		"it refuses somebody, so look at it"},
	{[]string{"proxy_read_timeout", "proxy_send_timeout", "proxy_connect_timeout", "client_header_timeout", "client_body_timeout", "send_timeout"},
		"[timeouts] has the bounds of every wait"},
	{[]string{"rewrite", "if", "set", "map", "split_clients", "sub_filter", "sub_filter_", "mirror"}, "Genkan rewrites nothing; redirect and strip are what there is"},
	{[]string{"limit_rate", "limit_rate_"}, "there is no bound on bytes a second"},
}
