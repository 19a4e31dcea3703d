package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2/unstable"

	"genkan/acl"
)

const (
	largest  = 16 << 20 // bytes of one configuration file
	included = 100_000  // files that one configuration may include
)

// read reads the file and all that it includes into one Config, and reports what is wrong with each value by itself.
func read(r *report, file string) *Config {
	c := &Config{File: file}
	all, partial := fields(), partialFields()
	d := &decoder{report: r, top: keysOf(all), partial: keysOf(partial)}
	if root := r.tree(file); root != nil {
		decode(d, root, all, c)
	}
	r.eachTree(r.includes(c), func(root *table) {
		d.mainOnly(root, file)
		decode(&decoder{report: r}, root, partial, c)
	})
	return c
}

// readAhead is how many trees wait at most until they are decoded.
const readAhead = 32

// eachTree reads files into trees, and gives those that can be read at all to take, in their order. Another core reads, a
// few files ahead: with ten thousand that is a quarter of a reload.
func (r *report) eachTree(files []string, take func(*table)) {
	type reading struct {
		file string
		root *table
		says *report
	}
	ahead := make(chan reading, readAhead)
	go func() { // it ends with the last file: all are taken
		defer close(ahead)
		toml := new(unstable.Parser)
		for _, name := range files {
			says := &report{toml: toml}
			ahead <- reading{name, says.tree(name), says}
		}
	}()
	for one := range ahead {
		r.begin(one.file)
		r.mistakes, r.sources = append(r.mistakes, one.says.mistakes...), append(r.sources, one.says.sources...)
		for file := range one.says.damaged {
			r.hurt(file)
		}
		if one.root != nil {
			take(one.root)
		}
	}
}

// A Source is a file of a configuration as it was read.
type Source struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// Sources reads a configuration's files, the main one first, whether they hold or not. Those that cannot be read are not
// among them. What included files say is not looked at: there may be thousands, to be compared every half minute.
func Sources(file string) []Source {
	r := newReport()
	c := &Config{File: file}
	if root := r.tree(file); root != nil {
		decode(&decoder{report: r}, root, fields(), c)
	}
	for _, name := range r.includes(c) {
		if src, err := readBounded(name); err == nil {
			r.sources = append(r.sources, Source{name, string(src)})
		}
	}
	return r.sources
}

func keysOf[T any](fields []field[T]) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

// mainOnly takes what belongs in the main file out of an included one, and says so.
func (d *decoder) mainOnly(root *table, main string) {
	kept := root.entries[:0]
	for _, e := range root.entries {
		if i := indexOf(d.top, e.key); i >= 0 && indexOf(d.partial, e.key) < 0 {
			d.mistake(e.pos, "%q cannot stand in an included file, which may have [site], [forward] and [lists]; move it to %s", e.key, main)
			continue
		}
		kept = append(kept, e)
	}
	root.entries = kept
}

func indexOf(words []string, word string) int {
	for i, w := range words {
		if w == word {
			return i
		}
	}
	return -1
}

// tree reads one file into a tree, nil where it cannot be read at all.
func (r *report) tree(file string) *table {
	r.begin(file)
	src, err := readBounded(file)
	if err != nil {
		r.broken(acl.Pos{File: file}, "%s", cause(err))
		return nil
	}
	r.sources = append(r.sources, Source{file, string(src)})
	root := parse(r, file, src)
	r.expand(root)
	return root
}

// readBounded reads a file that is not absurdly large.
func readBounded(file string) ([]byte, error) {
	// A named pipe that nobody writes to would be waited for without end.
	fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	for errors.Is(err, syscall.EINTR) {
		fd, err = syscall.Open(file, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err == nil && stat.Mode&syscall.S_IFMT == syscall.S_IFREG && stat.Size <= largest {
		return readRegular(fd, int(stat.Size))
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err == nil && len(src) > largest {
		err = errors.New("larger than 16 MiB; split it with include")
	}
	return src, err
}

// readRegular reads and closes a regular file of about size bytes. An os.File would try to have each of ten thousand waited
// for by the poller, which takes longer than to read them.
func readRegular(fd, size int) ([]byte, error) {
	defer syscall.Close(fd) // only read: nothing can be lost
	src := make([]byte, 0, size+1)
	for len(src) <= largest {
		n, err := syscall.Read(fd, src[len(src):cap(src)])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || n == 0:
			return src, err
		}
		src = src[:len(src)+n]
		src = slices.Grow(src, 1) // it grows while it is read
	}
	return nil, errors.New("larger than 16 MiB; split it with include")
}

// cause is an error without the path that stands in front of it already, and with what to do.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file; write one, or name another"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied; let this user read it"
	}
	return err.Error()
}

// includes finds the files that include names, in the order of the patterns and then of the names.
func (r *report) includes(c *Config) []string {
	var files []string
	seen := map[string]bool{filepath.Clean(c.File): true}
	for _, pattern := range c.Include {
		path := pattern.S
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(c.File), path)
		}
		r.folders = append(r.folders, filepath.Dir(path))
		matches, err := filepath.Glob(path)
		switch {
		case err != nil:
			r.mistake(pattern.Pos, "include %q: this pattern cannot be read; write one as \"sites/*.toml\"", pattern.S)
			continue
		case len(matches) == 0 && !strings.ContainsAny(path, "*?["):
			r.broken(pattern.Pos, "include %q: no such file; write a file or a pattern relative to %s", pattern.S, c.File)
			continue
		case len(matches)+len(files) > included:
			r.broken(pattern.Pos, "include %q: more than %d files; put some together", pattern.S, included)
			continue
		}
		sort.Strings(matches)
		for _, m := range matches {
			if info, err := os.Stat(m); err == nil && info.IsDir() {
				r.broken(pattern.Pos, "include %q: %q is a directory; write the files in it, as %q", pattern.S, m, filepath.Join(pattern.S, "*.toml"))
				continue
			}
			if !seen[filepath.Clean(m)] {
				seen[filepath.Clean(m)] = true
				files = append(files, m)
			}
		}
	}
	return files
}
