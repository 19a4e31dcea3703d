package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGPIPE)
	defer stop()
	if err := parse().run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	plan
	genkan     string // the program
	http       bool
	tunnel     bool
	engine     bool
	mayInstall bool
	only       []string // prefixes of names; one "" is all
	against    []string // names of peers; one "" is all
	role       string   // of a process that we started ourselves
}

func parse() options {
	o := options{plan: plan{idle: 10_000, clients: 64}}
	var only, against string
	quick := flag.Bool("quick", false, "half a minute in all: shows that everything runs")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each contestant is measured in each row")
	flag.DurationVar(&o.time, "time", 3*time.Second, "of one measurement")
	flag.StringVar(&only, "only", "", "only rows (with -tunnel: paths) whose name begins with one of these, by commas")
	flag.StringVar(&against, "against", "", "only these contestants besides Genkan, by commas")
	flag.StringVar(&o.genkan, "genkan", "bin/genkan", "the program; it is built when it is not there")
	flag.BoolVar(&o.http, "http", false, "measure HTTP instead of TCP and UDP")
	flag.BoolVar(&o.tunnel, "tunnel", false, "measure the tunnel's datapaths instead, beside plain IP and VXLAN (root)")
	flag.BoolVar(&o.engine, "engine", false, "measure the pipe engine without the rest of Genkan too")
	noInstall := flag.Bool("no-install", false, "do not install missing programs")
	flag.StringVar(&o.role, "role", "", "internal")
	flag.Parse()
	o.only, o.against = strings.Split(only, ","), strings.Split(against, ",")
	o.mayInstall = !*noInstall && os.Geteuid() == 0
	if *quick {
		o.plan = plan{rounds: 1, time: 500 * time.Millisecond, idle: 500, clients: 64}
	}
	return o
}

// chosen tells whether a row or a path of that name is wanted.
func (o options) chosen(name string) bool {
	return slices.ContainsFunc(o.only, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func (o options) run(ctx context.Context) error {
	switch o.role {
	case "backend":
		return serveBackend()
	case "http-backend":
		return serveHTTPBackend()
	case "engine":
		return serveEngine(flag.Arg(0), flag.Arg(1))
	}
	limit, err := descriptors()
	if err != nil {
		return err
	}
	o.idle = min(o.idle, limit/2-500) // a contestant needs two for each client
	dir, err := os.MkdirTemp("", "genkan-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.genkan, err = build(o.genkan, dir); err != nil {
		return err
	}
	switch {
	case o.tunnel:
		return o.benchTunnel(ctx, dir)
	case o.http:
		cs := o.present(httpContestants(o.genkan, o.idle+150), tool{"wrk", "wrk"}, tool{"h2load", "nghttp2-client"})
		return o.compete(ctx, cs, dir, "http-backend", func() ([]row, error) { return httpRows(ctx, o.plan), nil })
	}
	cs := o.present(contestants(o.genkan, o.idle+150))
	return o.compete(ctx, cs, dir, "backend", func() ([]row, error) {
		half, err := halfLoad(cs, o.plan)
		return l4Rows(o.plan, half), err
	})
}

// present installs what is missing and returns the contestants that are wanted
// and here.
func (o options) present(cs []*contestant, more ...tool) []*contestant {
	if o.against[0] != "" {
		cs = slices.DeleteFunc(cs, func(c *contestant) bool { return c.peer() && !slices.Contains(o.against, c.name) })
	}
	if o.engine {
		cs = slices.Insert(cs, 1, engineAlone())
	}
	tools := more
	for _, c := range cs {
		tools = append(tools, c.tool)
	}
	missing := install(tools, o.mayInstall)
	if len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "bench: not here, so not measured:", strings.Join(missing, ", "))
	}
	return slices.DeleteFunc(cs, func(c *contestant) bool { return slices.Contains(missing, c.program) })
}

// build makes the program where it is not there.
func build(binary, dir string) (string, error) {
	if _, err := os.Stat(binary); err == nil {
		return filepath.Abs(binary)
	}
	path := filepath.Join(dir, "genkan")
	out, err := exec.Command("go", "build", "-o", path, "./cmd/genkan").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s is not there, and go build ./cmd/genkan says: %w\n%s", binary, err, out)
	}
	return path, nil
}

// startBackend runs this program once more, in a session of its own.
func startBackend(role string) (port uint16, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, nil, err
	}
	cmd := exec.Command(self, "-role", role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = ownSession()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return 0, nil, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 16)
	if err != nil {
		stop()
		return 0, nil, err
	}
	return uint16(n), stop, nil
}

// descriptors raises the limit of this process and its children as far as
// allowed, up to what 10,000 clients want, and returns it.
func descriptors() (int, error) {
	const wanted = 25_000
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, err
	}
	raised := unix.Rlimit{Cur: max(wanted, lim.Cur), Max: max(wanted, lim.Max)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return int(raised.Cur), nil
	}
	lim.Cur = lim.Max
	return int(lim.Max), unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
}

// cores tells which machine this is.
func cores() string {
	var u unix.Utsname
	release := "?"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%d cores, Linux %s", runtime.NumCPU(), release)
}
