package list

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
)

func TestOpenCollectsMistakes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/bad.txt", "192.0.2.1\n192.0.2.0/33\n")
	write(t, dir+"/good.txt", "192.0.2.1\n")
	l := acl.NewList(acl.SetOf(must(acl.ParsePrefix("10.0.0.0/8"))))
	_, _, err := Open([]Source{{"a", dir + "/bad.txt", l}, {"b", dir + "/none.txt", l}, {"c", dir + "/good.txt", l}}, nil)
	want := fmt.Sprintf(`list "a": %s/bad.txt:2: "192.0.2.0/33": the length is a number from 0 to 32
list "b": stat %s/none.txt: no such file or directory`, dir, dir)
	if fmt.Sprint(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if !l.Contains(addr("10.0.0.1"), time.Time{}) {
		t.Error("a list was changed all the same")
	}
}

// Every way to change a file is seen, and a bad one changes nothing.
func TestFilesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"v1", "v2", "many"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir+"/plain.txt", "192.0.2.1")
	write(t, dir+"/v1/list", "192.0.2.1")
	write(t, dir+"/v2/list", "192.0.2.2")
	write(t, dir+"/many/b.txt", "192.0.2.1")
	link(t, "v1", dir+"/current") // as Kubernetes does: list → current/list → v1/list
	link(t, "current/list", dir+"/linked")
	var plain, linked, many acl.List
	files, _, err := Open([]Source{{"plain", dir + "/plain.txt", &plain}, {"linked", dir + "/linked", &linked}, {"many", dir + "/many", &many}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, files.Serve)
	for name, l := range map[string]*acl.List{"plain": &plain, "linked": &linked, "many": &many} {
		if !has(l, "192.0.2.1") {
			t.Errorf("%s is not loaded", name)
		}
	}
	write(t, dir+"/plain.txt", "192.0.2.2")
	wait(t, "a write", func() bool { return has(&plain, "192.0.2.2") && !has(&plain, "192.0.2.1") })
	write(t, dir+"/new", "192.0.2.3")
	if err := os.Rename(dir+"/new", dir+"/plain.txt"); err != nil {
		t.Fatal(err)
	}
	wait(t, "a rename", func() bool { return has(&plain, "192.0.2.3") })

	write(t, dir+"/plain.txt", "192.0.2.4\nnonsense\n")
	wait(t, "a bad line", func() bool { return files.Status()[0].Err != nil })
	if s := files.Status()[0]; !has(&plain, "192.0.2.3") || has(&plain, "192.0.2.4") || s.Entries != 1 ||
		s.Err.Error() != dir+`/plain.txt:2: "nonsense": not an IP address; write one like "192.0.2.1" or "2001:db8::1"` {
		t.Errorf("after a bad line: %+v", s)
	}
	if err := os.Remove(dir + "/plain.txt"); err != nil {
		t.Fatal(err)
	}
	wait(t, "a removal", func() bool {
		err := files.Status()[0].Err
		return err != nil && os.IsNotExist(err)
	})
	if !has(&plain, "192.0.2.3") {
		t.Error("a removed file emptied the list")
	}
	write(t, dir+"/plain.txt", "192.0.2.5")
	wait(t, "the file's return", func() bool { return has(&plain, "192.0.2.5") && files.Status()[0].Err == nil })

	link(t, "v2", dir+"/next")
	if err := os.Rename(dir+"/next", dir+"/current"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the swap of a link", func() bool { return has(&linked, "192.0.2.2") && !has(&linked, "192.0.2.1") })
	write(t, dir+"/v2/list", "192.0.2.6")
	wait(t, "a write behind the link", func() bool { return has(&linked, "192.0.2.6") })

	write(t, dir+"/many/a.txt", "2001:db8::/32")
	write(t, dir+"/many/.hidden", "nonsense")
	write(t, dir+"/many/a.txt~", "nonsense")
	wait(t, "a new file in a directory", func() bool { return has(&many, "2001:db8::1") && has(&many, "192.0.2.1") })
	if err := os.Remove(dir + "/many/b.txt"); err != nil {
		t.Fatal(err)
	}
	wait(t, "a file less in a directory", func() bool { return has(&many, "2001:db8::1") && !has(&many, "192.0.2.1") })
}

// A link in a directory whose file is gone is a mistake, as the file itself would be: the last good list stays.
func TestDanglingLinkInDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/many", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/feed", "192.0.2.1\n")
	link(t, "../feed", dir+"/many/feed")
	var many acl.List
	files, _, err := Open([]Source{{"many", dir + "/many", &many}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, files.Serve)
	if err := os.Remove(dir + "/feed"); err != nil {
		t.Fatal(err)
	}
	wait(t, "a link that leads nowhere", func() bool { return files.Status()[0].Err != nil })
	if want := "stat " + dir + "/many/feed: no such file or directory"; files.Status()[0].Err.Error() != want || !has(&many, "192.0.2.1") {
		t.Errorf("%+v, want %s and the last good list", files.Status()[0], want)
	}
	if err := os.Remove(dir + "/many/feed"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the end of that link", func() bool { return files.Status()[0].Err == nil && !has(&many, "192.0.2.1") })
}

func TestWhere(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.txt", "# a\n192.0.2.1\nnonsense\n")
	write(t, dir+"/b.txt", "2001:db8::/32\n10.1.2.3/8 # masked\n")
	for _, row := range []struct{ client, want string }{
		{"192.0.2.1", dir + "/a.txt:2"},
		{"10.9.9.9", dir + "/b.txt:2"},
		{"192.0.2.2", ""},
	} {
		where, found, err := Where(dir, addr(row.client))
		if err != nil || found != (row.want != "") || where.Pos.String() != row.want {
			t.Errorf("%s: %v %v, %v; want %s", row.client, where.Pos, found, err, row.want)
		}
	}
}

func has(l *acl.List, s string) bool { return l.Contains(addr(s), time.Time{}) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// serve runs f until the test ends, and waits for it.
func serve(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// wait polls for a condition, long enough for a busy machine.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s was not noticed", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A pipe that nobody writes into does not stop the program from starting.
func TestLoadPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	want := "open " + name + ": a pipe or socket, not a file; write the list into a file"
	if _, _, err := Load(name); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A file that is written in place is without a byte first: it is given time to fill, and is taken for empty after that.
func TestEmptyFileIsGivenTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	write(t, path, "192.0.2.1\n")
	if l, err := load(path); err != nil || l.set.Len() != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	began := time.Now()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	l, err := load(path)
	if took := time.Since(began); err != nil || l.set.Len() != 0 || took < emptied {
		t.Errorf("%+v, %v, after %v", l, err, took)
	}
	write(t, path, "# nobody\n")
	if l, err = load(path); err != nil || l.set.Len() != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}
