package list

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"genkan/acl"
)

// A Source is a list that a file or a directory fills.
type Source struct {
	Name string
	Path string
	List *acl.List
}

// Files keeps lists as their files are. It is made by Open.
type Files struct {
	log   *slog.Logger
	lists []*watched

	mu sync.Mutex // guards the state of each watched
}

// A watched is a Source and how it stands.
type watched struct {
	Source
	stamp  string
	status Status
}

// A Status tells how a list of a file stands.
type Status struct {
	Name    string
	Path    string
	Entries int       // disjoint spans in force
	Loaded  time.Time // when these were read
	Err     error     // why a later version of the file is not in force; nil: it is
}

// Open reads all sources. All mistakes are collected; then no list is changed.
// log nil discards.
func Open(sources []Source, log *slog.Logger) (*Files, []Line, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Files{log: log}
	var sets []*acl.Set
	var warnings []Line
	var errs []error
	for _, s := range sources {
		l, err := load(s.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("list %q: %w", s.Name, err))
			continue
		}
		warnings = append(warnings, l.warnings...)
		sets = append(sets, l.set)
		f.lists = append(f.lists, &watched{s, l.stamp, Status{s.Name, s.Path, l.set.Len(), time.Now(), nil}})
	}
	if errs != nil {
		return nil, warnings, errors.Join(errs...)
	}
	for i, w := range f.lists {
		w.List.Swap(sets[i])
	}
	return f, warnings, nil
}

// Status returns how each list stands.
func (f *Files) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Status, 0, len(f.lists))
	for _, w := range f.lists {
		out = append(out, w.status)
	}
	return out
}

// look is how often files are looked at where no event tells of a change: on
// network file systems there are none.
const look = 30 * time.Second

// Serve follows the files until ctx ends.
func (f *Files) Serve(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("list: watch files: %w (fs.inotify.max_user_instances may be too low)", err)
	}
	defer watcher.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			f.refresh()
			if f.watch(watcher) {
				timer.Reset(settle) // something may have changed before the watch began
			} else {
				timer.Reset(look)
			}
		case _, ok := <-watcher.Events:
			if !ok {
				return nil
			}
			timer.Reset(settle)
		case err := <-watcher.Errors:
			f.log.Warn("list files cannot be watched", "cause", err)
			timer.Reset(settle)
		}
	}
}

// watch makes the watcher follow every directory on the way to a file: its
// own, and those that its links lead to, so that a rename into place and the
// swap of a link are seen. It reports whether it began to follow any.
func (f *Files) watch(watcher *fsnotify.Watcher) (more bool) {
	want := map[string]bool{}
	for _, w := range f.lists {
		want[filepath.Dir(w.Path)] = true
		names, err := filesOf(w.Path)
		if err != nil {
			if info, err := os.Stat(w.Path); err == nil && info.IsDir() {
				want[w.Path] = true // where it may be mended
			}
			continue
		}
		if len(names) != 1 || names[0] != w.Path {
			want[w.Path] = true
		}
		for _, name := range names {
			want[filepath.Dir(realPath(name))] = true
		}
	}
	have := watcher.WatchList()
	for _, dir := range have {
		if !want[dir] {
			watcher.Remove(dir)
		}
	}
	for dir := range want {
		if slices.Contains(have, dir) {
			continue
		}
		if err := watcher.Add(dir); err != nil {
			f.log.Warn("list files cannot be watched", "dir", dir, "cause", err)
			continue
		}
		more = true
	}
	return more
}

// refresh reads again what has changed.
func (f *Files) refresh() {
	for _, w := range f.lists {
		now, err := stamp(w.Path)
		f.mu.Lock()
		same := err == nil && now.version == w.stamp || err != nil && w.status.Err != nil && err.Error() == w.status.Err.Error()
		f.mu.Unlock()
		if !same {
			f.reload(w)
		}
	}
}

// reload swaps one list, or reports why not.
func (f *Files) reload(w *watched) {
	l, err := load(w.Path)
	f.mu.Lock()
	defer f.mu.Unlock()
	w.stamp = l.stamp
	if w.status.Err = err; err != nil {
		f.log.Error("list not changed, the last good one stays", "list", w.Name, "path", w.Path, "cause", err)
		return
	}
	w.List.Swap(l.set)
	w.status.Entries, w.status.Loaded = l.set.Len(), time.Now()
	f.log.Info("list changed", "list", w.Name, "path", w.Path, "entries", l.set.Len())
	for _, line := range l.warnings {
		f.log.Warn("list entry", "list", w.Name, "line", line.String())
	}
}
