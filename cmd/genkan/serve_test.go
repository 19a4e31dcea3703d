package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait of these tests; the machine may be busy.
const patience = 20 * time.Second

// A process is the program running by itself.
type process struct {
	*exec.Cmd
	pipe io.Closer     // of log
	log  *bufio.Reader // what it writes to standard error
	addr string        // the first address that it listens on
}

// startProcess starts the program and waits until it says where it listens.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := exec.Command("genkan", args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	d := &process{Cmd: cmd, pipe: stderr, log: bufio.NewReader(stderr)}
	_, d.addr, _ = strings.Cut(d.waitLog(t, "listening")["on"], "/")
	return d
}

// waitLog reads the log up to an event and returns its texts.
func (d *process) waitLog(t *testing.T, event string) map[string]string {
	t.Helper()
	late := time.AfterFunc(patience, func() { d.Process.Kill() })
	defer late.Stop()
	var before strings.Builder
	for {
		line, err := d.log.ReadString('\n')
		before.WriteString(line)
		if err != nil {
			t.Fatalf("no %q in the log (%v):\n%s", event, err, &before)
		}
		var all map[string]any
		if json.Unmarshal([]byte(line), &all) != nil || !strings.HasPrefix(all["msg"].(string), event) {
			continue
		}
		texts := make(map[string]string)
		for k, v := range all {
			if s, ok := v.(string); ok {
				texts[k] = s
			}
		}
		return texts
	}
}

// stop sends a signal and returns the exit status.
func (d *process) stop(t *testing.T, signal syscall.Signal) int {
	t.Helper()
	if err := d.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return d.wait(t)
}

func (d *process) wait(t *testing.T) int {
	t.Helper()
	late := time.AfterFunc(patience, func() { d.Process.Kill() })
	defer late.Stop()
	io.Copy(io.Discard, d.log)
	var status *exec.ExitError
	if err := d.Wait(); err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	return d.ProcessState.ExitCode()
}

// startEcho listens on IPv4 and sends back what it gets.
func startEcho(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func mustDial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// checkEcho sends a line and wants it back.
func checkEcho(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "over the doorstep\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "over the doorstep\n" {
		t.Fatalf("got %q (%v)", line, err)
	}
}

// checkDenied wants a connection reset, be it at once or at the first read.
func checkDenied(t *testing.T, addr string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

// An IPv6 client reaches an IPv4 server without a file and without a privilege, and SIGTERM ends it with status 0.
func TestForward(t *testing.T) {
	d := startProcess(t, "forward", "[::1]:0", startEcho(t), "--deny", "192.0.2.0/24")
	c := mustDial(t, d.addr)
	checkEcho(t, c)
	c.Close()
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// --allow denies all others: their connections are reset.
func TestForwardDenies(t *testing.T) {
	d := startProcess(t, "forward", "[::1]:0", startEcho(t), "--allow", "192.0.2.0/24")
	checkDenied(t, d.addr)
	if status := d.stop(t, syscall.SIGINT); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// While an open connection is waited for, a second SIGTERM ends the program at once.
func TestSecondSignal(t *testing.T) {
	d := startProcess(t, "forward", "127.0.0.1:0", startEcho(t))
	c := mustDial(t, d.addr)
	checkEcho(t, c)
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.waitLog(t, "stopping")
	checkEcho(t, c) // it may finish
	if status := d.stop(t, syscall.SIGTERM); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
}

// A daemon whose log has lost its reader serves on.
func TestLogReaderGoes(t *testing.T) {
	d := startProcess(t, "forward", "127.0.0.1:0", startEcho(t))
	d.pipe.Close()
	c := mustDial(t, d.addr)
	checkEcho(t, c)
	c.Close()
	if status := d.stop(t, syscall.SIGTERM); status != 0 { // which is logged before
		t.Errorf("exit status %d", status)
	}
}

// systemd learns when the service is ready, and when it stops.
func TestNotify(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetDeadline(time.Now().Add(patience))
	t.Setenv("NOTIFY_SOCKET", socket)
	d := startProcess(t, "forward", "127.0.0.1:0", startEcho(t))
	checkNotified(t, l, "READY=1")
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	checkNotified(t, l, "STOPPING=1")
}

func checkNotified(t *testing.T, l *net.UnixConn, want string) {
	t.Helper()
	buf := make([]byte, 256)
	n, err := l.Read(buf)
	if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, want) {
		t.Errorf("systemd was told %q (%v), want %q", got, err, want)
	}
}

// A port that is taken ends the start with the holder's name, and nothing is left listening.
func TestPortTaken(t *testing.T) {
	taken := startEcho(t)
	file := filepath.Join(t.TempDir(), "genkan.toml")
	text := "state_dir = \"" + t.TempDir() + "\"\n[forward.a]\nlisten = [\"127.0.0.1:0\", \"" + taken + "\"]\nto = \"127.0.0.2:9\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("genkan", "run", "-c", file, "--socket", "").CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "genkan: listen \""+taken+"\": port in use by ") {
		t.Errorf("%v, %s", err, out)
	}
}

// SIGHUP puts the new file in the place of the old one; a broken one is refused and the old one goes on.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "genkan.toml")
	echo := startEcho(t)
	write := func(access string) {
		text := "state_dir = \"" + filepath.Dir(file) + "\"\n[forward.a]\nlisten = \"127.0.0.1:0\"\nto = \"" + echo + "\"\naccess = [" + access + "]\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`"allow all"`)
	socket := filepath.Join(t.TempDir(), "sock")
	d := startProcess(t, "run", "-c", file, "--socket", socket)
	open := mustDial(t, d.addr)
	checkEcho(t, open)

	write(`"allow 10.1.2.3/8"`)
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	refused := d.waitLog(t, "reload refused")
	if want := `reload refused, the old configuration goes on: access "allow 10.1.2.3/8": host bits set; write "10.0.0.0/8"`; refused["msg"] != want {
		t.Errorf("got %q, want %q", refused["msg"], want)
	}
	if want := file + ":5:11"; refused["at"] != want {
		t.Errorf("at %q, want %q", refused["at"], want)
	}
	another := mustDial(t, d.addr)
	checkEcho(t, another)
	another.Close()

	write(`"deny all"`)
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.waitLog(t, "reloaded")
	checkDenied(t, d.addr)
	checkEcho(t, open) // what was open goes on

	write(`"allow 127.0.0.0/8"`)
	ask := func(want string, args ...string) {
		t.Helper()
		if _, out, complaint := genkan("", append(args, "--socket", socket)...); !strings.HasPrefix(out+complaint, want) {
			t.Errorf("genkan %v: got %q, want %q", args, out+complaint, want)
		}
	}
	ask("~ forward \"a\"\n", "reload", "--dry-run")
	checkDenied(t, d.addr)
	ask("~ forward \"a\"\n", "reload")
	last := mustDial(t, d.addr)
	checkEcho(t, last)
	last.Close()
	ask("nothing differs\n", "reload")
	ask("genkan unknown, process ", "status")
	ask("genkan: the configuration has no pool\n", "who", "100.64.0.1")
	open.Close()
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// A ban holds at once, cuts what is open, outlives a restart, and ends when it is taken away.
func TestListAdd(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "genkan.toml"), filepath.Join(dir, "sock")
	text := "state_dir = \"" + dir + "\"\n[lists]\nblocked = [\"192.0.2.1\"]\n[forward.a]\nlisten = \"127.0.0.1:0\"\nto = \"" +
		startEcho(t) + "\"\naccess = [\"deny blocked\", \"allow all\"]\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	list := func(want string, args ...string) {
		t.Helper()
		_, out, complaint := genkan("", append([]string{"list", "--socket", socket}, args...)...)
		if got := out + complaint; got != want {
			t.Errorf("list %v: got %q, want %q", args, got, want)
		}
	}
	d := startProcess(t, "run", "-c", file, "--socket", socket)
	open := mustDial(t, d.addr)
	checkEcho(t, open)

	list("genkan: no list \"bloked\"; did you mean \"blocked\"?\n", "add", "bloked", "127.0.0.1")
	list("blocked: added 127.0.0.0/8 for good\n1 connection cut\n", "add", "blocked", "127.0.0.0/8", "--cut")
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("the open connection goes on")
	}
	checkDenied(t, d.addr)
	list("blocked: 1 span\n  added: 127.0.0.0/8 for good\n", "show")
	if status, out, _ := genkan("", "explain", "-c", file, "--socket", socket, "a", "127.0.0.1"); status != 3 || !strings.Contains(out, "added at run time as 127.0.0.0/8") {
		t.Errorf("explain does not know the ban: status %d, %s", status, out)
	}
	// A ban stays in a reload, so that a configuration without other rules changes nothing for who is banned.
	newer := filepath.Join(dir, "new.toml")
	if err := os.WriteFile(newer, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, out, complaint := genkan("127.0.0.1 - -\n", "explain", "-c", file, "--socket", socket, "a", "--compare", newer); out != "1 line, 1 client: 0 verdicts would change\n" {
		t.Errorf("compare forgets the ban: %s%s", out, complaint)
	}
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}

	list("genkan: no Genkan answers at "+socket+"; start genkan run as root\n", "show")
	d = startProcess(t, "run", "-c", file, "--socket", socket)
	checkDenied(t, d.addr)
	list("blocked: took away 127.0.0.0/8\n", "del", "blocked", "::ffff:127.0.0.0/104") // no mapped form is ever shown
	again := mustDial(t, d.addr)
	checkEcho(t, again)
	again.Close()
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// A Genkan that runs and does not tell its bans is no reason to say that there are none.
func TestExplainWithoutAnAnswer(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "genkan.toml"), filepath.Join(dir, "sock")
	if err := os.WriteFile(file, []byte("[forward.a]\nlisten = \"127.0.0.1:22\"\nto = \"10.0.0.10:22\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mute := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not now", http.StatusServiceUnavailable) })}
	ended := make(chan error)
	go func() { ended <- mute.Serve(l) }()
	status, out, complaint := genkan("", "explain", "-c", file, "--socket", socket, "a", "192.0.2.1")
	if want := "warning: bans and counts are not those of the Genkan that runs: not now\n"; status != 0 || complaint != want {
		t.Errorf("status %d, %q, %q; want %q", status, out, complaint, want)
	}
	mute.Close()
	<-ended
}

// A list of an included file has one name, however the main file is named: for bans, in a restart, and to explain.
func TestListOfAnIncludedFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("sites", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"genkan.toml":   "include = [\"sites/*.toml\"]\nstate_dir = \"" + dir + "\"\n",
		"sites/ban.txt": "192.0.2.1\n",
		"sites/a.toml": "[lists]\nblocked = { file = \"ban.txt\" }\n[forward.a]\nlisten = \"127.0.0.1:0\"\nto = \"" +
			startEcho(t) + "\"\naccess = [\"deny blocked\", \"allow all\"]\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "sock")
	list := func(want string, args ...string) {
		t.Helper()
		_, out, complaint := genkan("", append([]string{"list", "--socket", socket}, args...)...)
		if got := out + complaint; got != want {
			t.Errorf("list %v: got %q, want %q", args, got, want)
		}
	}
	d := startProcess(t, "run", "-c", filepath.Join(dir, "genkan.toml"), "--socket", socket)
	list("sites/a.toml:blocked: added 127.0.0.0/8 for good\n", "add", "sites/a.toml:blocked", "127.0.0.0/8")
	checkDenied(t, d.addr)
	if err := os.Symlink("genkan.toml", "link.toml"); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"genkan.toml", "./sites/../genkan.toml", filepath.Join(dir, "genkan.toml"), "link.toml"} {
		if status, out, _ := genkan("", "explain", "-c", file, "--socket", socket, "a", "127.0.0.1"); status != 3 {
			t.Errorf("explain -c %s does not know the ban: status %d, %s", file, status, out)
		}
	}
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	d = startProcess(t, "run", "-c", "genkan.toml", "--socket", socket)
	checkDenied(t, d.addr)
	absolute := filepath.Join(dir, "sites/a.toml") + ":blocked"
	list("sites/a.toml:blocked: 1 span from sites/ban.txt\n  added: 127.0.0.0/8 for good\n", "show", absolute)
	list(absolute+": took away 127.0.0.0/8\n", "del", absolute, "127.0.0.0/8")
	list("genkan: no list \"blocked\"; the lists are [\"sites/a.toml:blocked\"]\n", "add", "blocked", "127.0.0.1")
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// Without the capabilities for a tunnel, run ends before it touches anything and names them.
func TestMissingPrivilege(t *testing.T) {
	needRoot(t) // to drop them
	file := filepath.Join(t.TempDir(), "genkan.toml")
	text := "state_dir = \"" + t.TempDir() + "\"\n[tunnel]\nprefix = \"2001:e41::/32\"\nrelays = [\"192.0.2.1\"]\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread that has lost its capabilities ends with this goroutine
		for _, bit := range []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW} {
			if err = unix.Prctl(unix.PR_CAPBSET_DROP, bit, 0, 0, 0); err != nil {
				return
			}
		}
		out, err = exec.Command("genkan", "run", "-c", file, "--socket", "").CombinedOutput()
	}()
	<-done
	want := "genkan: a tunnel needs CAP_NET_ADMIN and CAP_NET_RAW; run as root, or give AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the systemd unit\n"
	if err == nil || string(out) != want {
		t.Errorf("%v, got %q, want %q", err, out, want)
	}
}
