package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A path is one way for packets between two namespaces, over a veth of its own.
//
//	a  192.0.2.1 ── veth ── 192.0.2.2  b
//	   2001:db8:1::1      2001:db8:1::2
//	   and what the path lays over it
type path struct {
	name   string
	target string // what a sends to, an address of b's
	build  func(*pair) error
}

const (
	domain = "2001:e41::/32"
	// beyond stands for the IPv6 Internet behind the relay.
	beyond  = "2606:4700::2"
	settles = 20 * time.Second // a tunnel that does not carry by then has failed
)

func paths(genkan string) []path {
	tunnel := func(edge, relay string) func(*pair) error {
		return func(p *pair) error {
			if err := p.ip("-n", p.b, "addr", "add", beyond+"/128", "dev", "lo"); err != nil {
				return err
			}
			if err := p.genkan(genkan, p.b, fmt.Sprintf(relayConfig, domain, relay)); err != nil {
				return err
			}
			return p.genkan(genkan, p.a, fmt.Sprintf(edgeConfig, domain, edge))
		}
	}
	return []path{
		{"plain IPv4", "192.0.2.2", func(*pair) error { return nil }},
		{"plain IPv6", "2001:db8:1::2", func(*pair) error { return nil }},
		{"VXLAN", "2001:db8:2::2", buildVXLAN},
		{"kernel", beyond, tunnel("kernel", "kernel")},
		{"ebpf", beyond, tunnel("ebpf", "ebpf")},
		{"userspace", beyond, tunnel("userspace", "userspace")},
		{"ebpf to userspace", beyond, tunnel("ebpf", "userspace")},
	}
}

const relayConfig = `[tunnel]
role = "relay"
prefix = %q
local = "192.0.2.2"
mtu = 1480
datapath = %q
expose = "all"
`

const edgeConfig = `[tunnel]
prefix = %q
relays = ["192.0.2.2"]
mtu = 1480
datapath = %q
expose = "all"
`

func buildVXLAN(p *pair) error {
	for i, ns := range []string{p.a, p.b} {
		own, other := i+1, 2-i
		err := p.ip("-n", ns, "link", "add", "vx", "type", "vxlan", "id", "42", "dstport", "4789",
			"local", fmt.Sprint("192.0.2.", own), "remote", fmt.Sprint("192.0.2.", other), "dev", "v")
		if err != nil {
			return err
		}
		if err := p.ip("-n", ns, "addr", "add", fmt.Sprintf("2001:db8:2::%d/64", own), "dev", "vx", "nodad"); err != nil {
			return err
		}
		if err := p.ip("-n", ns, "link", "set", "vx", "up"); err != nil {
			return err
		}
	}
	return nil
}

// A pair is two namespaces, the link between them, and the programs in them.
type pair struct {
	path
	ctx      context.Context // of the run
	a, b     string
	dir      string
	programs []*exec.Cmd
	said     []*os.File
}

// namePrefix begins the names of our namespaces; the process that made them
// follows.
const namePrefix = "genkan-bench-"

// sweep removes the namespaces of a benchmark that was killed.
func sweep() error {
	left, err := filepath.Glob("/run/netns/" + namePrefix + "*")
	if err != nil {
		return err
	}
	for _, path := range left {
		name := filepath.Base(path)
		maker, _, _ := strings.Cut(strings.TrimPrefix(name, namePrefix), "-")
		if _, err := os.Stat("/proc/" + maker); err == nil {
			continue
		}
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			return fmt.Errorf("remove the namespace %s of an earlier run: %w: %s", name, err, out)
		}
	}
	return nil
}

// newPair makes the namespaces of a path. wire makes the link like a card that
// knows no tunnels: packets are cut to 1500 bytes before it, and merged after it.
func newPair(ctx context.Context, number int, way path, wire bool, dir string) (*pair, error) {
	p := &pair{ctx: ctx, path: way, dir: filepath.Join(dir, fmt.Sprint("pair", number))}
	p.a = fmt.Sprintf("%s%d-%da", namePrefix, os.Getpid(), number)
	p.b = fmt.Sprintf("%s%d-%db", namePrefix, os.Getpid(), number)
	if err := p.open(wire); err != nil {
		p.close()
		return nil, fmt.Errorf("%s: %w", way.name, err)
	}
	return p, nil
}

func (p *pair) open(wire bool) error {
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return err
	}
	for _, ns := range []string{p.a, p.b} {
		if err := p.ip("netns", "add", ns); err != nil {
			return err
		}
		if err := p.ip("-n", ns, "link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	if err := p.ip("link", "add", "v", "netns", p.a, "type", "veth", "peer", "name", "v", "netns", p.b); err != nil {
		return err
	}
	for i, ns := range []string{p.a, p.b} {
		for _, args := range [][]string{
			{"addr", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", "v"},
			{"addr", "add", fmt.Sprintf("2001:db8:1::%d/64", i+1), "dev", "v", "nodad"},
			{"link", "set", "v", "up"},
		} {
			if err := p.ip(append([]string{"-n", ns}, args...)...); err != nil {
				return err
			}
		}
		if wire {
			if err := p.command("ip", "netns", "exec", ns, "ethtool", "-K", "v", "tso", "off", "gro", "on",
				"tx-udp-segmentation", "off", "tx-ipxip4-segmentation", "off", "tx-ipxip6-segmentation", "off",
				"tx-gre-segmentation", "off", "tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off"); err != nil {
				return err
			}
		}
	}
	if err := p.build(p); err != nil {
		return err
	}
	if err := p.start(p.b, "iperf3", "-s", "-B", p.target); err != nil {
		return err
	}
	var err error
	for deadline := time.Now().Add(settles); time.Now().Before(deadline); {
		if err = p.command("ip", "netns", "exec", p.a, "iperf3", "-c", p.target, "-n", "1K", "--connect-timeout", "1000"); err == nil {
			return nil
		}
		if p.gone() || p.ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("carries nothing: %w\n%s", err, p.words())
}

// genkan runs the program in a namespace, with directories of its own for its
// state.
func (p *pair) genkan(program, ns, config string) error {
	file := filepath.Join(p.dir, ns+".toml")
	config = fmt.Sprintf("state_dir = %q\n", filepath.Join(p.dir, ns)) + config
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	return p.start(ns, "sh", "-c", `mount -t tmpfs tmpfs /run && exec "$0" run -c "$1"`, program, file)
}

// start runs a program in a namespace until close.
func (p *pair) start(ns string, args ...string) error {
	said, err := os.Create(filepath.Join(p.dir, fmt.Sprint("said", len(p.said))))
	if err != nil {
		return err
	}
	p.said = append(p.said, said)
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.programs = append(p.programs, cmd)
	return nil
}

// gone tells whether a program has ended by itself.
func (p *pair) gone() bool {
	for _, c := range p.programs {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	return false
}

func (p *pair) words() string {
	var all strings.Builder
	for _, f := range p.said {
		b, err := os.ReadFile(f.Name())
		if err == nil && !strings.Contains(string(b), "Server listening") {
			all.Write(b)
		}
	}
	return all.String()
}

func (p *pair) ip(args ...string) error { return p.command("ip", args...) }

func (p *pair) command(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (p *pair) close() {
	for _, c := range p.programs {
		endSession(c)
	}
	for _, f := range p.said {
		f.Close()
	}
	for _, ns := range []string{p.a, p.b} {
		exec.Command("ip", "netns", "del", ns).Run() // none: it was not made
	}
}

// An iperfReport is what we read of iperf3 --json.
type iperfReport struct {
	End struct {
		SumReceived struct {
			Bits    float64 `json:"bits_per_second"`
			Bytes   float64 `json:"bytes"`
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
			Seconds float64 `json:"seconds"`
		} `json:"sum_received"`
		Sum struct {
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
			Seconds float64 `json:"seconds"`
		} `json:"sum"`
	} `json:"end"`
	Error string `json:"error"`
}

func (p *pair) iperf(d time.Duration, args ...string) (iperfReport, error) {
	var r iperfReport
	ctx, cancel := context.WithTimeout(p.ctx, d+30*time.Second)
	defer cancel()
	args = append([]string{"netns", "exec", p.a, "iperf3", "-c", p.target, "--json", "-t", fmt.Sprint(max(1, int(d.Seconds())))}, args...)
	out, err := exec.CommandContext(ctx, "ip", args...).Output()
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		return r, errors.Join(err, jsonErr)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, err
}

// ping returns the mean round trip in µs.
func (p *pair) ping() (float64, error) {
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", "netns", "exec", p.a, "ping", "-q", "-f", "-c", "3000", p.target).Output()
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(out), "min/avg/max/mdev = ")
	fields := strings.Split(after, "/")
	if len(fields) < 2 {
		return 0, fmt.Errorf("ping says %q", out)
	}
	ms, err := strconv.ParseFloat(fields[1], 64)
	return ms * 1000, err
}
