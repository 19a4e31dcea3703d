package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"genkan/acl"
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
			var im nginxImport
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
	out   strings.Builder
	left  []string // FILE:LINE: directive: why
	names map[string]int
	files int
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
	return im.include(all, filepath.Dir(file), io)
}

func (im *nginxImport) include(block []directive, dir string, io streams) (out []directive, err error) {
	for _, d := range block {
		if d.name != "include" || len(d.args) != 1 {
			if d.block, err = im.include(d.block, dir, io); err != nil {
				return nil, err
			}
			out = append(out, d)
			continue
		}
		glob := d.args[0]
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(dir, glob)
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
	for _, l := range im.left {
		fmt.Fprintf(&b, "#   %s\n", strings.ReplaceAll(l, "\n", " "))
	}
	return b.String()
}

// own are directives that mean nothing for Genkan: how nginx itself runs, and
// what Genkan does anyway.
var own = []string{"user", "worker_processes", "pid", "error_log", "events", "sendfile", "tcp_nopush", "tcp_nodelay", "types_hash_max_size",
	"default_type", "include", "server_names_hash_bucket_size", "keepalive_timeout", "proxy_http_version", "proxy_buffering", "server_tokens",
	"ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets", "ssl_prefer_server_ciphers", "worker_connections", "proxy_redirect", "http2"}

// convert writes the sites and forwards of a whole configuration.
func (im *nginxImport) convert(all []directive) string {
	im.names = map[string]int{}
	for _, d := range all {
		switch {
		case d.name == "http":
			im.http(d.block)
		case d.name == "stream":
			im.stream(d.block)
		case d.name == "server": // a file of sites-available by itself
			im.server(d, all)
		case d.name != "upstream" && !slices.Contains(own, d.name):
			im.leave(d, "unknown here")
		}
	}
	return im.out.String()
}

func (im *nginxImport) http(block []directive) {
	for _, d := range block {
		switch {
		case d.name == "server":
			im.server(d, block)
		case slices.Contains([]string{"upstream", "allow", "deny", "client_max_body_size"}, d.name) || slices.Contains(own, d.name):
		default:
			im.leave(d, "it stands outside of a server")
		}
	}
}

// name makes a name that has not been given yet.
func (im *nginxImport) name(want string) string {
	im.names[want]++
	if n := im.names[want]; n > 1 {
		return want + "-" + strconv.Itoa(n)
	}
	return want
}

// listen translates one listen of nginx: 80, *:80, [::]:80, 192.0.2.1:80, 192.0.2.1.
func listenOf(arg string) (string, bool) {
	port := func(s string) bool { n, err := strconv.ParseUint(s, 10, 16); return err == nil && n > 0 }
	switch host, number, found := cutLast(arg, ":"); {
	case strings.HasPrefix(arg, "unix:"):
		return "", false
	case port(arg):
		return "0.0.0.0:" + arg, true
	case found && port(number) && host == "*":
		return "0.0.0.0:" + number, true
	case found && port(number):
		return arg, true
	}
	if a, err := acl.ParsePrefix(arg); err == nil {
		if a.Is4() {
			return arg + ":80", true
		}
		return "[" + strings.Trim(arg, "[]") + "]:80", true
	}
	return "", false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// listens joins the listeners of a server; both wildcards of a port are ":PORT".
func (im *nginxImport) listens(block []directive, udp bool) (all []string, fallback, proxied bool) {
	for _, d := range find(block, "listen") {
		if len(d.args) == 0 {
			continue
		}
		at, ok := listenOf(d.args[0])
		if !ok {
			im.leave(d, "no address that Genkan listens on")
			continue
		}
		both := strings.HasPrefix(at, "[::]:") && slices.Contains(d.args, "ipv6only=off")
		if port, found := strings.CutPrefix(at, "[::]:"); found && slices.Contains(all, "0.0.0.0:"+port) || both {
			all = slices.DeleteFunc(all, func(s string) bool { return s == "0.0.0.0:"+port })
			at = ":" + port
		} else if port, found := strings.CutPrefix(at, "0.0.0.0:"); found && slices.Contains(all, "[::]:"+port) {
			all = slices.DeleteFunc(all, func(s string) bool { return s == "[::]:"+port })
			at = ":" + port
		}
		if udp && slices.Contains(d.args, "udp") {
			at = "udp/" + at
		}
		all = append(all, at)
		fallback = fallback || slices.Contains(d.args, "default_server")
		proxied = proxied || slices.Contains(d.args, "proxy_protocol")
	}
	return all, fallback, proxied
}
