package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"genkan/cmd/genkan/config"
)

// A configured is a daemon with its files in a folder of its own.
type configured struct {
	*process
	dir, file, socket, echo string
}

// startConfigured starts a daemon whose main file includes sites/*.toml and waits until it serves.
func startConfigured(t *testing.T, extra string) *configured {
	t.Helper()
	dir := t.TempDir()
	c := &configured{dir: dir, file: filepath.Join(dir, "genkan.toml"), socket: filepath.Join(dir, "sock"), echo: startEcho(t)}
	if err := os.Mkdir(filepath.Join(dir, "sites"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.write(t, "genkan.toml", fmt.Sprintf("include = [\"sites/*.toml\"]\nstate_dir = %q\n%s", filepath.Join(dir, "state"), extra))
	c.write(t, "sites/a.toml", c.forward("a"))
	c.process = startProcess(t, "run", "-c", c.file, "--socket", c.socket)
	if _, err := ask(t.Context(), c.socket, http.MethodPost, "/v1/reload?dry_run=true", nil); err != nil {
		t.Fatal(err) // from its answer on it takes signals, too
	}
	return c
}

func (c *configured) forward(name string) string {
	return fmt.Sprintf("[forward.%s]\nlisten = \"127.0.0.%d:0\"\nto = %q\n", name, name[0], c.echo)
}

// write writes a file of the configuration as an editor does: beside, then renamed.
func (c *configured) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func (c *configured) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		return "absent"
	}
	return string(text)
}

// run runs a subcommand and wants it to say just this; DIR stands for the folder.
func (c *configured) run(t *testing.T, want string, args ...string) {
	t.Helper()
	_, out, complaint := genkan("", args...)
	if got := strings.ReplaceAll(out+complaint, c.dir, "DIR"); got != want {
		t.Errorf("genkan %q: got %q, want %q", args, got, want)
	}
}

// rollback is run for "genkan rollback", without the time that it says first.
func (c *configured) rollback(t *testing.T, want string, args ...string) {
	t.Helper()
	args = append([]string{"rollback", "--socket", c.socket, "--state-dir", filepath.Join(c.dir, "state")}, args...)
	_, out, complaint := genkan("", args...)
	got := strings.ReplaceAll(out+complaint, c.dir, "DIR")
	if before, after, ok := strings.Cut(got, "the configuration of "); ok {
		_, rest, _ := strings.Cut(after, "\n")
		got = before + rest
	}
	if got != want {
		t.Errorf("genkan %q: got %q, want %q", args, got, want)
	}
}

// Rollback undoes an edit that was refused, or one that was taken, and itself; with no daemon too.
func TestRollback(t *testing.T) {
	c := startConfigured(t, "")
	main, first := c.read(t, "genkan.toml"), c.read(t, "sites/a.toml")
	c.rollback(t, "genkan: the files are those of the running configuration, and there was none before it\n")

	c.write(t, "sites/a.toml", "[forward.a\n")
	c.write(t, "sites/b.toml", c.forward("b"))
	c.rollback(t, "- DIR/sites/b.toml\n~ DIR/sites/a.toml\n", "--dry-run")
	if c.read(t, "sites/a.toml") == first {
		t.Error("a dry run wrote")
	}
	c.rollback(t, "- DIR/sites/b.toml\n~ DIR/sites/a.toml\nreloaded: 0 differences\n")
	if c.read(t, "sites/a.toml") != first || c.read(t, "sites/a.toml.rolled-back") != "[forward.a\n" || c.read(t, "sites/b.toml") != "absent" {
		t.Error("the files are not what they were")
	}

	c.write(t, "sites/b.toml", c.forward("b"))
	c.write(t, "genkan.toml", main+"max_conns = 100\n")
	c.run(t, "~ what stands above the first header\n+ forward \"b\"\n", "reload", "--socket", c.socket)
	c.rollback(t, "- DIR/sites/b.toml\n~ DIR/genkan.toml\nreloaded: 2 differences\n")
	if c.read(t, "genkan.toml") != main {
		t.Error("genkan.toml is not what it was")
	}
	c.rollback(t, "~ DIR/genkan.toml\n+ DIR/sites/b.toml\nreloaded: 2 differences\n") // back again
	if info, err := os.Stat(filepath.Join(c.dir, "genkan.toml")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("genkan.toml: %v, %v", info, err)
	}

	c.write(t, "genkan.toml", "so much for that\n")
	if status := c.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	c.rollback(t, "~ DIR/genkan.toml\nno Genkan runs: start it\n")
	c.run(t, "genkan: no configuration was ever in force by what DIR/none/config says; with another state_dir, say --state-dir\n",
		"rollback", "--state-dir", filepath.Join(c.dir, "none"))
}

// What a bad disk has left of the running configuration does not keep the one before from coming back, and a file that is
// gone may be read by whoever reads the others.
func TestRollbackFromDamage(t *testing.T) {
	c := startConfigured(t, "")
	first := c.read(t, "sites/a.toml")
	c.write(t, "sites/b.toml", c.forward("b"))
	c.run(t, "+ forward \"b\"\n", "reload", "--socket", c.socket)
	c.write(t, "state/config/running.json", "{\"since\":")
	if err := os.Remove(filepath.Join(c.dir, "sites/a.toml")); err != nil {
		t.Fatal(err)
	}
	c.rollback(t, "what was in force last cannot be read (DIR/state/config/running.json: unexpected end of JSON input); the one before it can\n"+
		"- DIR/sites/b.toml\n+ DIR/sites/a.toml\nreloaded: 1 difference\n")
	if c.read(t, "sites/a.toml") != first {
		t.Error("a.toml is not what it was")
	}
	if info, err := os.Stat(filepath.Join(c.dir, "sites/a.toml")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("a.toml: %v, %v", info, err)
	}
}

// A file behind a link, and who may read it, stay what they were.
func TestRollbackKeepsLinks(t *testing.T) {
	c := startConfigured(t, "")
	path, first := filepath.Join(c.dir, "sites/a.toml"), c.read(t, "sites/a.toml")
	c.write(t, "real.toml", "[forward.a\n")
	if os.Getuid() == 0 {
		if err := os.Chown(filepath.Join(c.dir, "real.toml"), 1234, 4321); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(path), os.Symlink("../real.toml", path)); err != nil {
		t.Fatal(err)
	}
	c.rollback(t, "~ DIR/sites/a.toml\nreloaded: 0 differences\n")
	if to, err := os.Readlink(path); err != nil || to != "../real.toml" || c.read(t, "real.toml") != first {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	for _, name := range []string{"real.toml", "sites/a.toml.rolled-back"} {
		info, err := os.Lstat(filepath.Join(c.dir, name))
		if err != nil || info.Mode() != 0o640 {
			t.Errorf("%s: %v, %v", name, info, err)
		} else if sys := info.Sys().(*syscall.Stat_t); os.Getuid() == 0 && (sys.Uid != 1234 || sys.Gid != 4321) {
			t.Errorf("%s belongs to %d:%d", name, sys.Uid, sys.Gid)
		}
	}
}

// What is asked for the running configuration is what was read, to the byte, whatever the files are now.
func TestConfigAsItRuns(t *testing.T) {
	c := startConfigured(t, "# a remark\n\n")
	want := []config.Source{
		{Path: c.file, Text: c.read(t, "genkan.toml")},
		{Path: filepath.Join(c.dir, "sites/a.toml"), Text: c.read(t, "sites/a.toml")},
	}
	c.write(t, "sites/a.toml", "edited")
	text, err := ask(t.Context(), c.socket, http.MethodGet, "/v1/config", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := mustDecode[runningFiles](t, text).Files
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("GET /config: %q, want %q", got, want)
	}
}

// With watch = true a saved file is in force soon, a broken one is refused once, and an included one that comes is found.
func TestWatch(t *testing.T) {
	c := startConfigured(t, "watch = true\n")
	c.write(t, "sites/b.toml", c.forward("b"))
	if got := c.waitLog(t, "reload")["msg"]; got != "reloaded" {
		t.Errorf("got %q", got)
	}
	c.write(t, "sites/b.toml", "[forward.b\n")
	if got := c.waitLog(t, "reload")["msg"]; !strings.HasPrefix(got, "reload refused, ") {
		t.Errorf("got %q", got)
	}
	c.write(t, "sites/b.toml", c.forward("c"))
	if got := c.waitLog(t, "reload")["msg"]; got != "reloaded" {
		t.Errorf("got %q", got)
	}
}

// Of a storm of reloads few are left, and each who asked gets an answer.
func TestReloadStorm(t *testing.T) {
	c := startConfigured(t, "")
	const storm = 200
	var all sync.WaitGroup
	for range storm {
		all.Go(func() {
			if _, err := ask(t.Context(), c.socket, http.MethodPost, "/v1/reload", nil); err != nil {
				t.Error(err)
			}
		})
		if err := c.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	c.write(t, "sites/a.toml", c.forward("after"))
	done := make(chan int)
	go func() {
		n := 0
		for changes := ""; changes == ""; n++ {
			line, err := c.log.ReadString('\n')
			if err != nil {
				break
			}
			if strings.Contains(line, `"reloaded"`) && strings.Contains(line, "after") {
				changes = line
			}
		}
		done <- n
	}()
	if _, err := ask(t.Context(), c.socket, http.MethodPost, "/v1/reload", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-done:
		t.Logf("%d SIGHUPs and %d requests: %d reloads", storm, storm, n)
		if n > storm {
			t.Errorf("%d reloads of a storm of %d", n, 2*storm)
		}
	case <-time.After(patience):
		t.Error("no word of the last reload")
	}
}
