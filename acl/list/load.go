package list

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"genkan/acl"
)

// A loaded is the content of a Source at a moment.
type loaded struct {
	set      *acl.Set
	warnings []Line
	stamp    string // changes when the files do
}

// Load reads a list file, or all files of a directory other than hidden ones
// and backups ("~"), in name order.
func Load(path string) (*acl.Set, []Line, error) {
	l, err := load(path)
	return l.set, l.warnings, err
}

// load reads until the files stand still, as a script may be writing them.
func load(path string) (loaded, error) {
	for try := 0; ; try++ {
		before, err := stamp(path)
		if err != nil {
			return loaded{}, err
		}
		l, err := loadOnce(path)
		after, serr := stamp(path)
		if serr == nil && before == after || try == 5 {
			l.stamp = before
			return l, err
		}
		time.Sleep(settle)
	}
}

// settle is how long a file must stand still before it is read.
const settle = 50 * time.Millisecond

func loadOnce(path string) (l loaded, err error) {
	names, err := filesOf(path)
	if err != nil {
		return loaded{}, err
	}
	var b acl.SetBuilder
	var mistakes Mistakes
	for _, name := range names {
		warnings, err := readFile(name, &b)
		if m, ok := err.(*Mistakes); ok {
			for _, line := range m.Lines {
				mistakes.add(line)
			}
			mistakes.Total += m.Total - len(m.Lines)
		} else if err != nil {
			return loaded{}, err
		}
		if warnings != nil && len(l.warnings) < maxReported {
			l.warnings = append(l.warnings, warnings.Lines...)
		}
	}
	if mistakes.Total > 0 {
		return l, &mistakes
	}
	l.set = b.Build()
	return l, nil
}

func readFile(name string, b *acl.SetBuilder) (*Mistakes, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, name, b)
}

// filesOf returns path itself, or the list files in it.
func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), "~") {
			continue
		}
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

// stamp identifies a version of the files: where links lead, sizes, times.
func stamp(path string) (string, error) {
	names, err := filesOf(path)
	if err != nil {
		return "", err
	}
	var s strings.Builder
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&s, "%s %s %d %d\n", name, realPath(name), info.Size(), info.ModTime().UnixNano())
	}
	return s.String(), nil
}

func realPath(name string) string {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return name
	}
	return real
}
