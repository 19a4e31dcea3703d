package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
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

func httpContestants(genkan string, clients int) []*contestant {
	return []*contestant{
		{name: "genkan", tool: tool{program: genkan}, command: func(p place) []string {
			return p.genkan(httpGenkan, httpHost, p.listen, p.backend)
		}},
		{name: "haproxy", tool: tool{"haproxy", "haproxy"}, command: func(p place) []string {
			return []string{"-db", "-f", p.write("haproxy.cfg", httpHAProxy, clients, p.listen, p.backend)}
		}},
		{name: "nginx", tool: tool{"nginx", "nginx-light"}, command: func(p place) []string {
			return []string{"-c", p.write("nginx.conf", httpNginx, p.dir, p.listen, p.backend)}
		}},
		{name: "caddy", tool: tool{"caddy", "caddy"}, command: func(p place) []string {
			return []string{"run", "--adapter", "caddyfile", "--config", p.write("Caddyfile", httpCaddy, p.listen, p.backend)}
		}},
	}
}

const httpGenkan = `[site.%q]
listen = "[::1]:%d"
to = "127.0.0.1:%d"
`

const httpHAProxy = `global
	maxconn %d
	maxpipes 300
defaults
	mode http
	option splice-auto
	http-reuse always
	timeout connect 5s
	timeout client 10m
	timeout server 10m
listen bench
	bind [::1]:%d
	server s 127.0.0.1:%d
`

const httpNginx = `daemon off;
error_log stderr crit;
pid %[1]s/pid;
worker_processes auto;
events { worker_connections 10000; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 10000000;
	upstream backend { server 127.0.0.1:%[3]d; keepalive 128; keepalive_requests 10000000; }
	server {
		listen [::1]:%[2]d backlog=4096;
		location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
`

const httpCaddy = `{
	admin off
	auto_https off
}
:%d {
	bind [::1]
	reverse_proxy 127.0.0.1:%d
}
`

func httpRows(ctx context.Context, p plan) []row {
	ask := func(name, path string, header ...string) row {
		return row{
			columns: []column{{name, "µs CPU", 1, true}, {name, "1/s", 1, false}, {name + ", p99", "µs", 0, true}},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) { return wrk(ctx, c, p, path, header...) },
		}
	}
	return []row{
		ask("request of 1 KiB", "/1k"),
		ask("request of 100 KiB", "/100k"),
		ask("request of 10 MiB", "/10m"),
		ask("new connection", "/1k", "Connection: close"),
	}
}

// wrk asks a contestant from 64 connections and returns CPU in µs a request,
// requests a second, and the 99th percentile in µs.
func wrk(ctx context.Context, c *contestant, p plan, path string, header ...string) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.time+time.Minute)
	defer cancel()
	args := []string{"-t", "1", "-c", strconv.Itoa(p.clients), "-d", fmt.Sprint(max(1, int(p.time.Seconds())), "s"), "--latency", "-H", "Host: " + httpHost}
	for _, h := range header {
		args = append(args, "-H", h)
	}
	before, err := c.session().cpu()
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "wrk", append(args, fmt.Sprintf("http://%s%s", c.listen, path))...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := c.session().cpu()
	if err != nil {
		return nil, err
	}
	return readWrk(string(out), micro(after-before))
}

// readWrk reads what wrk 4 writes.
func readWrk(out string, cpu float64) ([]float64, error) {
	var requests, rate, p99 float64
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[0] == "99%":
			d, err := time.ParseDuration(fields[1])
			if err != nil {
				return nil, fmt.Errorf("wrk: %w", err)
			}
			p99 = micro(d)
		case fields[1] == "requests":
			requests, _ = strconv.ParseFloat(fields[0], 64)
		case fields[0] == "Requests/sec:":
			rate, _ = strconv.ParseFloat(fields[1], 64)
		case strings.HasPrefix(line, "  Non-2xx"):
			return nil, fmt.Errorf("wrk: %s", strings.TrimSpace(line))
		}
	}
	if requests == 0 || rate == 0 {
		return nil, fmt.Errorf("wrk: no requests in %q", out)
	}
	return []float64{cpu / requests, rate, p99}, nil
}

// genkan is the command line of ours. Nobody logs connections: the peers do not
// unless told to.
func (p place) genkan(format string, args ...any) []string {
	socket := p.dir + string(os.PathSeparator) + "genkan.sock"
	return []string{"run", "--log-level", "warn", "--socket", socket, "-c",
		p.write("genkan.toml", "state_dir = %q\n"+format, append([]any{p.dir}, args...)...)}
}
