package kernel

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An initrd is a cpio archive in the "newc" form (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst).
type initrd struct {
	buf   bytes.Buffer
	inode int
}

func (i *initrd) entry(name string, mode, size int) {
	i.inode++
	fmt.Fprintf(&i.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		i.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	i.pad()
}

func (i *initrd) pad() {
	for i.buf.Len()%4 != 0 {
		i.buf.WriteByte(0)
	}
}

func (i *initrd) dir(name string) { i.entry(name, 0o040755, 0) }

func (i *initrd) file(name string, content []byte) {
	i.entry(name, 0o100755, len(content))
	i.buf.Write(content)
	i.pad()
}

// program adds a program of this machine, and the libraries that ldd names.
func (i *initrd) program(name, path string) error {
	libraries, err := exec.Command("ldd", path).Output()
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", path, err)
	}
	files := map[string]string{name: path}
	for _, word := range strings.Fields(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			files[word[1:]] = word
		}
	}
	made := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content, err := os.ReadFile(files[name])
		if err != nil {
			return err
		}
		for at := range name {
			if dir := name[:at]; name[at] == '/' && !made[dir] {
				i.dir(dir)
				made[dir] = true
			}
		}
		i.file(name, content)
	}
	return nil
}

// bytes ends the archive.
func (i *initrd) bytes() []byte {
	i.entry("TRAILER!!!", 0, 0)
	return i.buf.Bytes()
}

// modules finds the files of a kernel's modules and puts them into the order
// in which they can be loaded.
type modules struct {
	files  map[string]string // name, with "_" for "-" → path
	loaded map[string]bool
	order  [][]byte
	names  []string
}

func findModules(dir string) (*modules, error) {
	m := &modules{files: map[string]string{}, loaded: map[string]bool{}}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && !d.IsDir() {
			m.files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	return m, err
}

// add takes the module after those it depends on. One without a file is taken
// to be built in: the guest's tests fail if it is not.
func (m *modules) add(name string) error {
	name = strings.ReplaceAll(name, "-", "_")
	path := m.files[name]
	if path == "" || m.loaded[name] {
		return nil
	}
	m.loaded[name] = true
	content, err := os.ReadFile(path)
	if err == nil && strings.HasSuffix(path, ".xz") {
		content, err = exec.Command("xz", "-dc", path).Output()
	}
	if err != nil {
		return fmt.Errorf("module %s: %w", path, err)
	}
	for _, field := range bytes.Split(content, []byte{0}) {
		list, ok := bytes.CutPrefix(field, []byte("depends="))
		if !ok {
			continue
		}
		for _, dep := range strings.FieldsFunc(string(list), func(r rune) bool { return r == ',' }) {
			if err := m.add(dep); err != nil {
				return err
			}
		}
	}
	m.order = append(m.order, content)
	m.names = append(m.names, name)
	return nil
}

// A module comes after those it depends on, and the archive has the sizes and
// the end that the kernel looks for.
func TestInitrd(t *testing.T) {
	dir := t.TempDir()
	for name, depends := range map[string]string{"sit": "tunnel4,ip-tunnel", "tunnel4": "", "ip_tunnel": ""} {
		content := "\x7fELF\x00license=GPL\x00depends=" + depends + "\x00"
		if err := os.WriteFile(filepath.Join(dir, name+".ko"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := findModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sit", "builtin", "tunnel4"} {
		if err := m.add(name); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := strings.Join(m.names, " "), "tunnel4 ip_tunnel sit"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
	var i initrd
	i.file("init", []byte("abcde"))
	got := string(i.bytes())
	const header = "070701" + "00000001" + "000081ed" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005"
	if !strings.HasPrefix(got, header) || !strings.Contains(got, "init\x00\x00abcde\x00\x00\x00070701") || !strings.Contains(got, "TRAILER!!!\x00") || len(got)%4 != 0 {
		t.Errorf("archive:\n%q", got)
	}
}
