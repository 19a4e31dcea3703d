package main

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"genkan/cmd/genkan/config"
)

// How a watched configuration is followed: an editor is given time to finish, and where no event tells of a change (on
// network file systems there are none) the files are read now and then.
const (
	fileSettle = 500 * time.Millisecond
	fileLook   = 30 * time.Second
)

// watchFiles asks for a reload when the configuration's files are others than those that were read last, as far as the
// plan wants that, until ctx ends.
func (f *front) watchFiles(ctx context.Context) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		if f.lists.current().Watch {
			f.log.Error("the configuration is not watched", "error", err)
		}
		return
	}
	defer watcher.Close()
	timer := time.NewTimer(fileSettle) // for what has changed since the start, before anything was watched
	defer timer.Stop()
	var refused []config.Source // what was tried in vain, and is not tried again
	for {
		f.watchFolders(watcher)
		select {
		case <-ctx.Done():
			return
		case <-watcher.Events:
			timer.Reset(fileSettle)
			continue
		case err := <-watcher.Errors:
			f.log.Warn("the configuration's files cannot be watched", "error", err)
		case <-timer.C:
		}
		timer.Reset(fileLook)
		plan := f.lists.current() // and not while it waits: that would keep a plan in memory beside the next one
		if !plan.Watch {
			continue
		}
		now := config.Sources(plan.File)
		if slices.Equal(now, plan.Sources) || slices.Equal(now, refused) {
			continue
		}
		if !f.reloadAndWait(ctx) {
			refused = now
		}
	}
}

// watchFolders has the plan's folders watched, where it wants that.
func (f *front) watchFolders(watcher *fsnotify.Watcher) {
	plan := f.lists.current()
	if !plan.Watch {
		return
	}
	for _, dir := range folders(plan) {
		_ = watcher.Add(dir) // again is fine; one that is gone has no files
	}
}

// folders are where the files of a plan are, and those that include may find.
func folders(plan *config.Plan) []string {
	var dirs []string
	for _, s := range plan.Sources {
		dirs = append(dirs, filepath.Dir(s.Path))
	}
	dirs = append(dirs, plan.IncludeFrom...)
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// reloadAndWait is "genkan reload"; it reports whether that went well.
func (f *front) reloadAndWait(ctx context.Context) bool {
	done := make(chan reloadDone, 1)
	select {
	case f.asked <- reloadAsked{false, done}:
		return (<-done).err == nil
	case <-f.ended:
	case <-ctx.Done():
	}
	return true
}
