package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// Ten thousand IPv6 clients at once, each with bytes of its own both ways in
// random chunks, reach an IPv4 backend whole, and nothing is left of them.
// A front needs two descriptors a client: where the machine grants no process
// so many, a second front takes the rest.
func TestTenThousandAtOnce(t *testing.T) {
	const crowd = 10_000
	size := 4 << 10 // bytes each way, on average
	if longRun() {
		size = 256 << 10
	}
	w := mustQuietWorld(t)
	// 40,000 sockets of usual size may hold more than tcp_mem has, and then the
	// kernel resets whatever was closed before it was delivered (TCPAbortOnMemory).
	for _, buffer := range []string{"net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem"} {
		if err := w.Front.Sysctl(buffer, "4096 16384 16384"); err != nil {
			t.Fatal(err)
		}
	}
	program := buildCrowd(t)
	limit := descriptorsGranted(t, 2*crowd+frontSpare)
	if limit < crowd+500 {
		t.Fatalf("%d descriptors are granted; the clients' process alone needs %d: raise ulimit -Hn", limit, crowd+500)
	}
	serving := start(t, w.Front, program, "serve", "127.0.0.1:7000", fmt.Sprint(size))
	waitListening(t, w.Front, "127.0.0.1", 7000)

	var fronts []*crowdFront
	var targets []string
	for left := crowd; left > 0; {
		n := min(left, (limit-frontSpare)/2)
		left -= n
		f := startCrowdFront(t, w, 7001+len(fronts), limit)
		fronts = append(fronts, f)
		targets = append(targets, fmt.Sprintf("[::1]:%d=%d", f.port, n))
	}
	t.Logf("%d descriptors a process: %d fronts", limit, len(fronts))

	began := time.Now()
	asking := start(t, w.Front, program, append([]string{"ask", fmt.Sprint(size)}, targets...)...)
	select {
	case <-asking.Done():
	case <-time.After(8 * time.Minute):
	}
	var at, exact, failed int
	var up, down int64
	_, err := fmt.Sscanf(asking.Output(), "%d at once\n%d exact, %d failed, %d bytes up, %d down\n", &at, &exact, &failed, &up, &down)
	if err != nil || at != crowd || exact != crowd {
		t.Fatalf("the clients say:\n%s", asking.Output())
	}
	t.Logf("%d clients at once, %d MB up and %d MB down in %v", at, up>>20, down>>20, time.Since(began).Round(time.Millisecond))
	for _, f := range fronts {
		waitUntil(t, patience, "descriptors given back", func() error {
			if n := sockets(t, f.Pid()); n > f.sockets {
				return fmt.Errorf("%d sockets, %d before the clients", n, f.sockets)
			}
			return nil
		})
	}
	stop(t, serving)
	want := fmt.Sprintf("%d exact, 0 failed, %[1]d at once\n", crowd)
	if got := serving.Output(); got != want {
		t.Errorf("the backend says %q, want %q", got, want)
	}
	var told tally
	for _, f := range fronts {
		stop(t, f)
		f.read(t, &told)
	}
	if want := (tally{crowd, up, down}); told != want {
		t.Errorf("the logs have %+v, want %+v", told, want)
	}
}

// frontSpare is what a front needs besides its clients' descriptors: pipes of
// bulk transfers, its control socket and so on.
const frontSpare = 1200

// buildCrowd builds the program of both ends, without the race detector: it
// takes no more than 8,128 goroutines.
func buildCrowd(t *testing.T) string {
	t.Helper()
	program := filepath.Join(os.Getenv(buildDir), "crowd")
	if out, err := exec.Command("go", "build", "-o", program, "genkan/integration/crowd").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// descriptorsGranted gives how many descriptors a process may have, wanted where
// root can have that.
func descriptorsGranted(t *testing.T, wanted int) int {
	t.Helper()
	prlimit := require.Program(t, "prlimit", "util-linux")
	if exec.Command(prlimit, fmt.Sprintf("--nofile=%d:%d", wanted, wanted), "true").Run() == nil {
		return wanted
	}
	var has syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &has); err != nil {
		t.Fatal(err)
	}
	return int(min(has.Max, uint64(wanted)))
}

// A crowdFront is a front whose log is kept whole.
type crowdFront struct {
	*lab.Process
	port    int
	log     string
	sockets int // without a client
}

func startCrowdFront(t *testing.T, w *world, port, limit int) *crowdFront {
	t.Helper()
	f := &crowdFront{port: port, log: filepath.Join(t.TempDir(), "log")}
	f.Process = start(t, w.Front, "sh", "-c", `log=$1; shift; exec "$@" 2>"$log"`, "sh", f.log,
		require.Program(t, "prlimit", "util-linux"), fmt.Sprintf("--nofile=%d:%[1]d", limit),
		w.program, "forward", fmt.Sprintf("[::1]:%d", port), "127.0.0.1:7000")
	t.Cleanup(func() { f.explain(t) })
	waitListening(t, w.Front, "::1", uint16(port))
	f.sockets = sockets(t, f.Pid())
	return f
}

// sockets counts those that a process has open.
func sockets(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// explain shows what of a front's log is not a connection that ended well, once
// the test has failed.
func (f *crowdFront) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	text, _ := os.ReadFile(f.log)
	left := 20
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `"end":"eof"`) && left > 0 {
			left--
			t.Logf("front of port %d: %s", f.port, strings.TrimSpace(line))
		}
	}
}

// A tally is what fronts have logged of connections that ended well.
type tally struct {
	connections int
	up, down    int64
}

// read adds a front's log to told. Nothing else than connections that ended
// well, and no warning, may stand in it.
func (f *crowdFront) read(t *testing.T, told *tally) {
	t.Helper()
	file, err := os.Open(f.log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var line struct {
			Level, Msg, End string
			Up, Down        int64
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Level != "INFO" || line.Msg == "connection" && line.End != "eof" {
			t.Fatalf("%s: %q", f.log, lines.Text())
		}
		if line.Msg == "connection" {
			told.connections++
			told.up += line.Up
			told.down += line.Down
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}
