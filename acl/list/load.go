package list

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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

// load reads until the files stand still, as a script may be writing them. A
// file that was written a moment ago may be written again within one tick of
// the file system's clock, and look the same: it is given time first.
func load(path string) (loaded, error) {
	began := time.Now()
	for try := 0; ; {
		before, err := stamp(path)
		if err != nil {
			return loaded{}, err
		}
		rest := settle
		if before.empty {
			rest = emptied
		}
		if time.Since(before.written) < rest && time.Since(began) < 5*rest {
			time.Sleep(settle)
			continue
		}
		l, err := loadOnce(path)
		after, serr := stamp(path)
		if serr == nil && before.version == after.version || try == 10 {
			l.stamp = before.version
			return l, err
		}
		try++
		time.Sleep(settle)
	}
}

const (
	// settle is how long a file must stand still before it is read.
	settle = 50 * time.Millisecond
	// emptied is the same for a file without a byte: who writes it in place has
	// emptied it first, and all that it bars would come in if it took longer.
	emptied = time.Second
)

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

var errPipe = errors.New("a pipe or socket, not a file; write the list into a file")

// filesOf returns path itself, or the list files in it.
func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		// Opening a pipe would wait for its writer, and nothing bounds that.
		return nil, &os.PathError{Op: "open", Path: path, Err: errPipe}
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
		info, err := os.Stat(name)
		if _, lerr := os.Lstat(name); errors.Is(lerr, fs.ErrNotExist) {
			continue // taken away since the folder was read
		}
		if err != nil {
			return nil, err // a link that leads nowhere would take its entries away unsaid
		}
		if info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

// A mark is what files look like from outside.
type mark struct {
	version string    // where links lead, which files these are, their sizes and times
	written time.Time // when the last was written
	empty   bool      // one has no byte
}

// stamp looks at the files of a list.
func stamp(path string) (m mark, err error) {
	names, err := filesOf(path)
	if err != nil {
		return mark{}, err
	}
	var s strings.Builder
	fmt.Fprintln(&s, realPath(path)) // an empty folder is a version, too
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			return mark{}, &os.PathError{Op: "stat", Path: name, Err: err}
		}
		changed := time.Unix(st.Ctim.Unix())
		fmt.Fprintf(&s, "%s %d %d %d %d %d\n", realPath(name), st.Dev, st.Ino, st.Size, st.Mtim.Nano(), changed.UnixNano())
		if changed.After(m.written) {
			m.written = changed
		}
		m.empty = m.empty || st.Size == 0
	}
	m.version = s.String()
	return m, nil
}

func realPath(name string) string {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return name
	}
	return real
}
