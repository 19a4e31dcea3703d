package main

import (
	"bufio"
	"context"
	"errors"
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	quick := flag.Bool("quick", false, "half a minute in all: shows that everything runs")
	rounds := flag.Int("rounds", 5, "how often each contestant is measured in each row")
	span := flag.Duration("time", 3*time.Second, "of one measurement")
	only := flag.String("only", "", "only rows (with -tunnel: paths) whose name begins with one of these, by commas")
	against := flag.String("against", "", "only these contestants besides Genkan, by commas")
	binary := flag.String("genkan", "bin/genkan", "the program; it is built when it is not there")
	noInstall := flag.Bool("no-install", false, "do not install missing programs")
	engine := flag.Bool("engine", false, "measure the pipe engine without the rest of Genkan too")
	tunnel := flag.Bool("tunnel", false, "measure the tunnel's datapaths instead, beside plain IP and VXLAN (root)")
	web := flag.Bool("http", false, "measure HTTP instead of TCP and UDP")
	role := flag.String("role", "", "internal")
	flag.Parse()
	switch *role {
	case "backend":
		return serveBackend()
	case "http-backend":
		return serveHTTPBackend()
	case "engine":
		return serveEngine(flag.Arg(0), flag.Arg(1))
	}
	mayInstall := !*noInstall && os.Geteuid() == 0
	p := plan{rounds: *rounds, time: *span, idle: 10_000, clients: 64}
	if *quick {
		p = plan{rounds: 1, time: 500 * time.Millisecond, idle: 500, clients: 64}
	}
	limit, err := descriptors()
	if err != nil {
		return err
	}
	p.idle = min(p.idle, limit/2-500) // a contestant needs two for each client
	dir, err := os.MkdirTemp("", "genkan-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	genkan, err := build(*binary, dir)
	if err != nil {
		return err
	}
	if *tunnel {
		return benchTunnel(ctx, genkan, dir, p, mayInstall, strings.Split(*only, ","))
	}
	cs := contestants(genkan, p.idle+150)
	if *web {
		cs = httpContestants(genkan, p.idle+150)
	}
	if *against != "" {
		names := strings.Split(*against, ",")
		cs = slices.DeleteFunc(cs, func(c *contestant) bool { return c.peer() && !slices.Contains(names, c.name) })
	}
	if *engine {
		cs = slices.Insert(cs, 1, engineAlone())
	}
	var tools []tool
	for _, c := range cs {
		tools = append(tools, c.tool)
	}
	if *web {
		tools = append(tools, tool{"wrk", "wrk"})
	}
	missing := install(tools, mayInstall)
	cs = slices.DeleteFunc(cs, func(c *contestant) bool { return slices.Contains(missing, c.program) })
	if len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "bench: not here, so not measured:", strings.Join(missing, ", "))
	}
	chosen := strings.Split(*only, ",")
	if *web {
		return compete(ctx, cs, dir, p, chosen, "http-backend", func() ([]row, error) { return httpRows(ctx, p), nil })
	}
	return compete(ctx, cs, dir, p, chosen, "backend", func() ([]row, error) {
		half, err := halfLoad(cs, p)
		return l4Rows(p, half), err
	})
}

// compete starts everybody, measures row by row, and prints the table.
func compete(ctx context.Context, cs []*contestant, dir string, p plan, only []string, backend string, rows func() ([]row, error)) error {
	port, stop, err := startBackend(backend)
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	defer stop()
	var names []string
	for _, c := range cs {
		own := filepath.Join(dir, c.name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		if err := c.start(port, own); err != nil {
			return err
		}
		defer c.stop()
		names = append(names, c.name)
	}
	all, err := rows()
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d rounds of %v, %d clients.\n\n", cores(), p.rounds, p.time, p.clients)
	writeHead(os.Stdout, names)
	var failed error
	for _, r := range all {
		if !chosen(only, r.columns[0].name) {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		results, errs := r.run(cs)
		for i, col := range r.columns {
			writeLine(os.Stdout, col, cs, results[i])
		}
		for i, err := range errs {
			if err == nil {
				continue
			}
			err = fmt.Errorf("%s: %s: %w", r.columns[0].name, cs[i].name, err)
			if cs[i].peer() {
				fmt.Fprintln(os.Stderr, "bench:", err)
			} else {
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}

// chosen tells whether name begins with one of only; all do with "".
func chosen(only []string, name string) bool {
	return slices.ContainsFunc(only, func(o string) bool { return strings.HasPrefix(name, o) })
}

// run measures each contestant in turn, as often as the row wants. It returns
// the results by column and contestant, and each contestant's last error.
func (r row) run(cs []*contestant) ([][]result, []error) {
	results := make([][]result, len(r.columns))
	for i := range results {
		results[i] = make([]result, len(cs))
	}
	errs := make([]error, len(cs))
	for range r.rounds {
		for i, c := range cs {
			if r.fits != nil && !r.fits(c) {
				continue
			}
			figures, err := r.measure(c)
			if err != nil {
				errs[i] = err
				figures = make([]float64, len(r.columns))
			}
			for k, v := range figures {
				results[k][i].rounds = append(results[k][i].rounds, v)
			}
		}
	}
	for k := range results {
		for i := range results[k] {
			results[k][i].value = median(results[k][i].rounds)
		}
	}
	return results, errs
}

// halfLoad returns half the exchanges a second that the best peer reaches.
func halfLoad(cs []*contestant, p plan) (float64, error) {
	var top float64
	for _, c := range cs {
		t, err := exchange(c, drive{unix.SOCK_STREAM, p.clients, p.time, 0})
		if err != nil {
			return 0, fmt.Errorf("%s: %w", c.name, err)
		}
		top = max(top, float64(t.exchanges)/t.elapsed.Seconds())
	}
	return top / 2, nil
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
