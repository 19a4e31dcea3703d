package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// The sizes that the HTTP backend serves, by path.
var bodies = map[string]int{"/1k": 1 << 10, "/100k": 100 << 10, "/10m": 10 << 20}

// serveHTTPBackend is the HTTP backend's process: it prints its port.
func serveHTTPBackend() error {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for path, size := range bodies {
		body := bytes.Repeat([]byte("genkan\r\n"), size/8)
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body) // the client is gone: nobody to tell
		})
	}
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.Serve(ln)
}

// httpHost is the site that is asked for.
const httpHost = "www.bench.example"

// httpContestants listen in plain and with TLS 1.3, with the same certificate.
func httpContestants(genkan string, clients int) []*contestant {
	return []*contestant{
		{name: "genkan", tool: tool{program: genkan}, quic: true, command: func(p place) []string {
			cert, key := p.certificate()
			return p.genkan(httpGenkan, p.listen, p.secure, p.backend, cert, key, clients)
		}},
		{name: "haproxy", tool: tool{"haproxy", "haproxy"}, command: func(p place) []string {
			cert, _ := p.certificate()
			return []string{"-db", "-f", p.write("haproxy.cfg", httpHAProxy, clients, p.listen, p.secure, cert, p.backend)}
		}},
		{name: "nginx", tool: tool{"nginx", "nginx-light"}, command: func(p place) []string {
			cert, key := p.certificate()
			return []string{"-c", p.write("nginx.conf", httpNginx, p.dir, p.listen, p.backend, p.secure, cert, key)}
		}},
		{name: "caddy", tool: tool{"caddy", "caddy"}, quic: true, command: func(p place) []string {
			cert, key := p.certificate()
			return []string{"run", "--adapter", "caddyfile", "--config", p.write("Caddyfile", httpCaddy, p.listen, p.backend, p.secure, cert, key)}
		}},
	}
}

const httpGenkan = `[limits]
client_conns = %[6]d

[listener."[::1]:%[2]d"]
tls = true

[site.bench]
hosts = ["default"]
listen = ["[::1]:%[1]d", "[::1]:%[2]d"]
to = "127.0.0.1:%[3]d"
cert = %[4]q
key = %[5]q
`

const httpHAProxy = `global
	maxconn %[1]d
	maxpipes 300
	ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
	mode http
	option splice-auto
	http-reuse always
	timeout connect 5s
	timeout client 10m
	timeout server 10m
listen bench
	bind [::1]:%[2]d
	bind [::1]:%[3]d ssl crt %[4]s alpn h2,http/1.1
	server s 127.0.0.1:%[5]d
`

const httpNginx = `daemon off;
error_log stderr crit;
pid %[1]s/pid;
worker_processes auto;
events { worker_connections 25000; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_timeout 10m;
	keepalive_requests 10000000;
	upstream backend { server 127.0.0.1:%[3]d; keepalive 128; keepalive_requests 10000000; }
	server {
		listen [::1]:%[2]d backlog=4096;
		listen [::1]:%[4]d ssl http2 backlog=4096;
		ssl_certificate %[5]s;
		ssl_certificate_key %[6]s;
		ssl_protocols TLSv1.2 TLSv1.3;
		location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
`

const httpCaddy = `{
	admin off
	auto_https off
}
http://:%[1]d {
	bind [::1]
	reverse_proxy 127.0.0.1:%[2]d
}
https://:%[3]d {
	bind [::1]
	tls %[4]s %[5]s
	reverse_proxy 127.0.0.1:%[2]d
}
`

// genkan is the command line of ours. Nobody logs connections: the peers do not
// unless told to.
func (p place) genkan(format string, args ...any) []string {
	socket := p.dir + string(os.PathSeparator) + "genkan.sock"
	return []string{"run", "--log-level", "warn", "--socket", socket, "-c",
		p.write("genkan.toml", "state_dir = %q\n%s", p.dir, fmt.Sprintf(format, args...))}
}
