package integration

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A block is a fenced part of the README: its language and its text.
type block struct{ language, text string }

func readmeBlocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

// Every block of the README is true: a picture needs no proof, a configuration
// holds, a session prints what stands there, and a command does what it says.
func TestReadme(t *testing.T) {
	program, err := genkanBuilt()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(program, filepath.Join(dir, "genkan")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	seen := map[string]int{}
	for _, b := range readmeBlocks(t) {
		seen[b.language]++
		switch b.language {
		case "":
			continue
		case "toml":
			mustWrite(t, filepath.Join(dir, "genkan.toml"), b.text)
			mustWrite(t, filepath.Join(dir, "update.key"), "hmac-sha256:genkan:c2VjcmV0\n")
			checkSession(t, dir, "$ genkan check -c genkan.toml >/dev/null\n")
		case "console":
			checkSession(t, dir, b.text)
		case "sh":
			for line := range strings.Lines(b.text) {
				checkCommand(t, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "sudo "))
			}
		default:
			t.Errorf("a block in %q: nothing proves it", b.language)
		}
	}
	for _, language := range []string{"toml", "console", "sh"} {
		if seen[language] == 0 {
			t.Errorf("no block in %q", language)
		}
	}
}

// The README's table of commands is the program's own list of them.
// GENKAN_UPDATE=1 writes it.
func TestReadmeCommands(t *testing.T) {
	program, err := genkanBuilt()
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command(program, "help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(help), "Available Commands:\n")
	list, _, ok := strings.Cut(list, "\n\n")
	if !ok {
		t.Fatalf("no list of commands in:\n%s", help)
	}
	want := "| command | what it does |\n|---|---|\n"
	for line := range strings.Lines(list) {
		name, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "help" {
			want += "| `genkan " + name + "` | " + strings.TrimSpace(what) + " |\n"
		}
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- commands -->\n", "<!-- end of commands -->\n"
	before, rest, _ := strings.Cut(string(text), begin)
	table, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("README.md: no %q and %q", begin, end)
	}
	if table == want {
		return
	}
	if os.Getenv("GENKAN_UPDATE") == "" {
		t.Fatal("README.md: the table of commands is not that of the program; run with GENKAN_UPDATE=1 to write it")
	}
	mustWrite(t, "../README.md", before+begin+want+end+after)
}

// checkSession runs each "$ " line in the folder and compares what it prints.
func checkSession(t *testing.T, dir, session string) {
	t.Helper()
	for _, part := range strings.Split(session, "$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "sh", "-c", command)
		cmd.Dir = dir
		got, _ := cmd.CombinedOutput() // explain answers by its status, too
		cancel()
		if string(got) != want {
			t.Errorf("$ %s\n%swant:\n%s", command, got, want)
		}
	}
}

// checkCommand proves one command of the README, each in its own way.
func checkCommand(t *testing.T, command string) {
	t.Helper()
	switch command {
	case "make demo":
		checkMake(t, "demo", "./bin/genkan demo") // and that: TestDemoUntilInterrupted
	case "make test":
		checkMake(t, "test", "test -race")
	case "make install":
		checkInstall(t)
	case "genkan forward '[::]:8080' 192.0.2.10:80":
		checkForward(t)
	case "genkan init", "genkan doctor": // their own tests in cmd/genkan
	case "genkan check": // of the installed file; the console block shows what it says
	case "systemctl enable --now genkan", "systemctl reload genkan": // checkInstall looks at the unit
	case "curl --unix-socket /run/genkan/genkan.sock http://genkan/v1/openapi.json":
		checkAPI(t, command)
	default:
		t.Errorf("the command %q: nothing proves it", command)
	}
}

// checkAPI runs curl against a daemon with a socket of its own.
func checkAPI(t *testing.T, command string) {
	t.Helper()
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "sock"), filepath.Join(dir, "genkan.toml")
	mustWrite(t, file, "state_dir = \""+dir+"\"\n[forward.a]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.2:9\"\n")
	cmd := exec.Command("genkan", "run", "-c", file, "--socket", socket)
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	waitUntil(t, patience, "the socket", func() error { _, err := os.Stat(socket); return err })
	want, err := os.ReadFile("../cmd/genkan/openapi.json")
	if err != nil {
		t.Error(err)
		return
	}
	words := strings.Fields(strings.Replace(command, "/run/genkan/genkan.sock", socket, 1))
	got, err := exec.Command(words[0], append(words[1:], "--silent", "--fail")...).Output()
	if err != nil || string(got) != string(want) {
		t.Errorf("%q: %v, %.200q", words, err, got)
	}
}

func checkMake(t *testing.T, target, recipe string) {
	t.Helper()
	cmd := exec.Command("make", "--dry-run", target)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), recipe) {
		t.Errorf("make --dry-run %s: %v, want %q in:\n%s", target, err, recipe, out)
	}
}

// checkInstall installs into a folder: the program runs, and the unit starts
// the program where it is and reloads it by the signal that it takes.
func checkInstall(t *testing.T) {
	t.Helper()
	root := t.TempDir()
	cmd := exec.Command("make", "install", "DESTDIR="+root, "PREFIX=/opt/genkan")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("make install: %v\n%s", err, out)
		return
	}
	if out, err := exec.Command(filepath.Join(root, "/opt/genkan/sbin/genkan"), "version").CombinedOutput(); err != nil {
		t.Errorf("the installed program: %v\n%s", err, out)
	}
	unit, err := os.ReadFile(filepath.Join(root, "/opt/genkan/lib/systemd/system/genkan.service"))
	if err != nil {
		t.Error(err)
	}
	for _, line := range []string{"ExecStart=/opt/genkan/sbin/genkan run\n", "ExecReload=/bin/kill -HUP $MAINPID\n", "WantedBy=multi-user.target\n"} {
		if !strings.Contains(string(unit), line) {
			t.Errorf("the unit has no %q:\n%s", line, unit)
		}
	}
}

// checkForward runs the command with addresses of a lab.
func checkForward(t *testing.T) {
	t.Helper()
	w := mustQuietWorld(t)
	startCounter(t, w, "10.0.0.10:80")
	start(t, w.Front, w.program, "forward", "[::]:8080", "10.0.0.10:80")
	waitListening(t, w.Front, "::", 8080)
	var conn net.Conn
	err := w.Front.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", "[::1]:8080", patience)
		return err
	})
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Error(err)
	}
	got := make([]byte, 7)
	if _, err := conn.Read(got); err != nil || string(got) != "5 bytes" {
		t.Errorf("through genkan forward: %q, %v", got, err)
	}
}
