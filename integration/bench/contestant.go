package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A contestant is a proxy under test.
type contestant struct {
	name    string
	debian  string // its package; "" is ours
	program string
	forks   bool // a process for each client: no row with thousands
	udp     bool
	command func(place) []string

	listen  netip.AddrPort
	process *exec.Cmd
	said    *bytes.Buffer
}

// peer tells whether c is another's program.
func (c *contestant) peer() bool { return c.debian != "" }

// A place is where a contestant runs.
type place struct {
	listen, backend uint16
	dir             string // of its own, for its configuration
}

func (p place) write(name, format string, args ...any) string {
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
		return path // the contestant will say that it is not there
	}
	return path
}

func contestants(genkan string, clients int) []*contestant {
	return []*contestant{
		{name: "genkan", program: genkan, udp: true, command: func(p place) []string {
			return []string{"run", "-c", p.write("genkan.toml", genkanConfig, p.listen, p.backend)}
		}},
		{name: "haproxy", debian: "haproxy", program: "haproxy", command: func(p place) []string {
			return []string{"-db", "-f", p.write("haproxy.cfg", haproxyConfig, clients, p.listen, p.backend)}
		}},
		{name: "nginx", debian: "nginx-light libnginx-mod-stream", program: "nginx", udp: true, command: func(p place) []string {
			return []string{"-c", p.write("nginx.conf", nginxConfig, p.dir, p.listen, p.backend)}
		}},
		{name: "6tunnel", debian: "6tunnel", program: "6tunnel", forks: true, command: func(p place) []string {
			return []string{"-d", "-6", "-4", "-l", "::1", fmt.Sprint(p.listen), "127.0.0.1", fmt.Sprint(p.backend)}
		}},
		{name: "socat", debian: "socat", program: "socat", forks: true, command: func(p place) []string {
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
	c.listen = netip.AddrPortFrom(netip.IPv6Loopback(), port)
	c.said = new(bytes.Buffer)
	c.process = exec.Command(c.program, c.command(place{port, backend, dir})...)
	c.process.Stdout, c.process.Stderr = c.said, c.said
	c.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
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
func (c *contestant) stop() {
	leader := c.process.Process.Pid
	syscall.Kill(-leader, syscall.SIGTERM)
	ended := time.AfterFunc(5*time.Second, func() { syscall.Kill(-leader, syscall.SIGKILL) })
	c.process.Wait()
	ended.Stop()
}

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

// install brings the missing programs from Debian if it may, and returns what
// stays missing.
func install(cs []*contestant, may bool) (missing []string) {
	var packages []string
	for _, c := range cs {
		if _, err := exec.LookPath(c.program); err != nil && c.peer() {
			packages = append(packages, strings.Fields(c.debian)...)
		}
	}
	if len(packages) > 0 && may {
		fmt.Fprintln(os.Stderr, "bench: installing", strings.Join(packages, " "))
		if out, err := aptInstall(packages); err != nil {
			fmt.Fprintf(os.Stderr, "bench: apt-get: %v\n%s", err, out)
		}
	}
	for _, c := range cs {
		if _, err := exec.LookPath(c.program); err != nil {
			missing = append(missing, c.name)
		}
	}
	return missing
}

// aptInstall installs packages without starting their servers.
func aptInstall(packages []string) ([]byte, error) {
	const policy = "/usr/sbin/policy-rc.d" // invoke-rc.d(8): 101 forbids
	if _, err := os.Stat(policy); err != nil {
		if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return nil, err
		}
		defer os.Remove(policy)
	}
	script := "apt-get -q update && apt-get -q install --assume-yes --no-install-recommends " + strings.Join(packages, " ")
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return cmd.CombinedOutput()
}
