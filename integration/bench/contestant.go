package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A contestant is a proxy under test.
type contestant struct {
	name string
	tool
	forks   bool // a process for each client: no row with thousands
	udp     bool
	command func(place) []string

	quic bool // speaks HTTP/3

	listen  netip.AddrPort
	secure  netip.AddrPort // of HTTP: the same over TLS
	process *exec.Cmd
	said    *bytes.Buffer
}

// peer tells whether c is another's program.
func (c *contestant) peer() bool { return c.debian != "" }

// A place is where a contestant runs.
type place struct {
	listen, backend uint16
	secure          uint16 // listens with TLS, of HTTP
	dir             string // of its own, for its configuration
}

func (p place) write(name, format string, args ...any) string {
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
		return path // the contestant will say that it is not there
	}
	return path
}

// contestants are Genkan and its peers.
func contestants(genkan string, clients int) []*contestant {
	return []*contestant{
		{name: "genkan", tool: tool{program: genkan}, udp: true, command: func(p place) []string {
			return p.genkan(genkanConfig, p.listen, p.backend)
		}},
		{name: "haproxy", tool: tool{"haproxy", "haproxy"}, command: func(p place) []string {
			return []string{"-db", "-f", p.write("haproxy.cfg", haproxyConfig, clients, p.listen, p.backend)}
		}},
		{name: "nginx", tool: tool{"nginx", "nginx-light libnginx-mod-stream"}, udp: true, command: func(p place) []string {
			return []string{"-c", p.write("nginx.conf", nginxConfig, p.dir, p.listen, p.backend)}
		}},
		{name: "6tunnel", tool: tool{"6tunnel", "6tunnel"}, forks: true, command: func(p place) []string {
			return []string{"-d", "-6", "-4", "-l", "::1", fmt.Sprint(p.listen), "127.0.0.1", fmt.Sprint(p.backend)}
		}},
		{name: "socat", tool: tool{"socat", "socat"}, forks: true, command: func(p place) []string {
			return []string{fmt.Sprintf("TCP6-LISTEN:%d,bind=[::1],ipv6only,fork,reuseaddr,nodelay,backlog=1024", p.listen), fmt.Sprintf("TCP4:127.0.0.1:%d,nodelay", p.backend)}
		}},
	}
}

const genkanConfig = `[forward.bench]
listen = ["[::1]:%[1]d", "udp/[::1]:%[1]d"]
to = "127.0.0.1:%[2]d"
`

// The configurations are what the manuals show for this task; both programs use
// every core by default.
const haproxyConfig = `global
	maxconn %d
	maxpipes 300
defaults
	mode tcp
	option splice-auto
	timeout connect 5s
	timeout client 10m
	timeout server 10m
listen bench
	bind [::1]:%d
	server s 127.0.0.1:%d
`

const nginxConfig = `daemon off;
error_log stderr crit;
pid %[1]s/pid;
worker_processes auto;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 25000; }
stream {
	server { listen [::1]:%[2]d; proxy_pass 127.0.0.1:%[3]d; }
	server { listen [::1]:%[2]d udp; proxy_pass 127.0.0.1:%[3]d; }
}
`

// start runs the contestant in a session of its own until stop.
func (c *contestant) start(backend uint16, dir string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	secure, err := freePort()
	if err != nil {
		return err
	}
	c.listen = netip.AddrPortFrom(netip.IPv6Loopback(), port)
	c.secure = netip.AddrPortFrom(netip.IPv6Loopback(), secure)
	c.said = new(bytes.Buffer)
	c.process = exec.Command(c.program, c.command(place{port, backend, secure, dir})...)
	c.process.Stdout, c.process.Stderr = c.said, c.said
	c.process.SysProcAttr = ownSession()
	if err := c.process.Start(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", c.listen.String())
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			c.stop()
			return fmt.Errorf("%s: does not listen: %w\n%s", c.name, err, c.said)
		}
	}
}

func (c *contestant) session() session { return session{c.process.Process.Pid} }

// stop ends the whole session.
func (c *contestant) stop() { endSession(c.process) }

// freePort returns a port of [::1] that neither TCP nor UDP uses.
func freePort() (uint16, error) {
	for range 100 {
		ln, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			return 0, err
		}
		port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
		u, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: int(port)})
		ln.Close()
		if err == nil {
			u.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port of [::1] is free for both TCP and UDP")
}
