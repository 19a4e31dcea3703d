package integration

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"

	"go.uber.org/goleak"
)

// genkanBuilt is the program under test, built once, with the race detector
// where the tests have it.
var genkanBuilt = sync.OnceValues(buildGenkan)

func buildGenkan() (string, error) {
	program := filepath.Join(os.Getenv(buildDir), "genkan")
	args := []string{"build", "-o", program}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "genkan/cmd/genkan")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// buildDir is the variable that names the folder of the built program.
const buildDir = "GENKAN_TEST_BUILD"

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err == nil {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func testMain(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "genkan")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	os.Setenv(buildDir, dir)
	// The race detector's runtime would wait a second at each program's end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	return m.Run(), nil
}

// A world is a lab with its border relay running.
type world struct {
	*lab.Lab
	program string
	relay   *lab.Daemon
}

// patience bounds each wait. Figures are tested elsewhere: this is only for a
// test that fails to end.
const patience = 30 * time.Second

func mustWorld(t *testing.T) *world {
	t.Helper()
	w := mustQuietWorld(t)
	w.startRelay(t)
	if isLossy() {
		w.losePackets(t)
	}
	return w
}

// mustQuietWorld is a world before its relay runs.
func mustQuietWorld(t *testing.T) *world {
	t.Helper()
	require.Root(t)
	require.File(t, "/dev/net/tun", "kernel module tun")
	program, err := genkanBuilt()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return &world{Lab: l, program: program}
}

func (w *world) startRelay(t *testing.T) {
	t.Helper()
	w.relay = w.genkan(t, w.Relay, lab.RelayConfig)
	waitReady(t, w.relay)
}

// genkan starts Genkan and stops it at the end of the test.
func (w *world) genkan(t *testing.T, n *lab.Namespace, config string) *lab.Daemon {
	t.Helper()
	p, err := w.Genkan(n, w.program, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

// front starts Genkan at the front and waits until it serves.
func (w *world) front(t *testing.T, config string) *lab.Daemon {
	t.Helper()
	p := w.genkan(t, w.Front, config)
	waitReady(t, p)
	return p
}

// tunnelConfig is [tunnel] of the front.
var tunnelConfig = fmt.Sprintf("[tunnel]\nprefix = %q\nrelays = [%q]\n%s", lab.SixRD, lab.RelayV4, map[bool]string{true: "datapath = \"userspace\"\n"}[isLossy()])

// isLossy tells that all tests of this run have the userspace datapath and a
// path that loses packets, as TestServersUnderLoss wants it.
func isLossy() bool { return os.Getenv(lossyRun) != "" }

const lossyRun = "GENKAN_TEST_LOSSY"

func waitReady(t *testing.T, d *lab.Daemon) {
	t.Helper()
	if err := d.WaitReady(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
}

// A program is a lab.Process or a lab.Daemon.
type program interface {
	Stop(within time.Duration) error
	Output() string
	Pid() int
}

// stop ends a program by SIGTERM and shows its output if the test failed.
func stop(t *testing.T, p program) {
	t.Helper()
	err := p.Stop(patience)
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Error(err)
	}
	if strings.Contains(p.Output(), "DATA RACE") {
		t.Error("data race")
	}
	if t.Failed() {
		t.Logf("process %d wrote:\n%s", p.Pid(), p.Output())
	}
}

// start starts a server in a namespace and stops it at the end of the test.
func start(t *testing.T, n *lab.Namespace, name string, args ...string) *lab.Process {
	t.Helper()
	p, err := n.Run(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

// curl asks for a URL in a namespace and returns the status and the body.
func curl(t *testing.T, n *lab.Namespace, args ...string) (status int, body string) {
	t.Helper()
	program := require.Program(t, "curl", "curl")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args = append([]string{"--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"}, args...)
	out, err := n.Output(ctx, program, args...)
	if err != nil {
		t.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	body, code, _ := cutLast(out, "\n")
	status, err = strconv.Atoi(code)
	if err != nil {
		t.Fatalf("curl: status %q in %q", code, out)
	}
	return status, body
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// waitUntil polls f until it returns nil.
func waitUntil(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %v: %v", what, within, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitListening waits for a listening TCP socket without connecting to it:
// servers count, log or punish probes.
func waitListening(t *testing.T, n *lab.Namespace, addr string, port uint16) {
	t.Helper()
	local := procAddr(netip.MustParseAddr(addr), port)
	want := " " + local + " " + strings.Repeat("0", len(local)-5) + ":0000 0A " // 0A: TCP_LISTEN
	waitUntil(t, patience, "listener "+addr, func() error {
		return n.Do(func() error {
			for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
				table, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				if strings.Contains(string(table), want) {
					return nil
				}
			}
			return fmt.Errorf("nobody listens on %s port %d", addr, port)
		})
	})
}

// procAddr spells an address as /proc/net/tcp does: words of 32 bits in the
// machine's order, here little-endian.
func procAddr(a netip.Addr, port uint16) string {
	b := a.AsSlice()
	for i := 0; i < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	return strings.ToUpper(hex.EncodeToString(b)) + fmt.Sprintf(":%04X", port)
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
