package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"genkan/cmd/genkan/config"
)

// A kept configuration is one that was in force, with all files, as the state directory and GET /config have it.
type kept struct {
	Since time.Time       `json:"since"` // when it came into force
	File  string          `json:"file"`  // the main file, as an absolute path
	Files []config.Source `json:"files"` // the main one first, with absolute paths
}

// keptOf is the configuration of a plan that comes into force now.
func keptOf(plan *config.Plan) (kept, error) { return keptFrom(plan.File, plan.Sources) }

func keptFrom(file string, sources []config.Source) (kept, error) {
	k := kept{Since: time.Now(), Files: slices.Clone(sources)}
	var err error
	if k.File, err = filepath.Abs(file); err != nil {
		return k, err
	}
	for i := range k.Files {
		if k.Files[i].Path, err = filepath.Abs(k.Files[i].Path); err != nil {
			return k, err
		}
	}
	return k, nil
}

// same tells whether two are the same, whenever they were in force.
func (k kept) same(other kept) bool {
	return k.File == other.File && slices.Equal(k.Files, other.Files)
}

// An archive keeps the configuration that is in force and the one before, for "genkan rollback".
type archive struct{ dir string }

// archiveIn is the archive of a state directory.
func archiveIn(stateDir string) archive { return archive{filepath.Join(stateDir, "config")} }

// The names in an archive.
const (
	runningConfig = "running.json"
	formerConfig  = "former.json"
	nextConfig    = "next.json" // on its way to be the running one
)

// keep notes that k is in force now.
func (a archive) keep(k kept) error {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	running, runningErr := os.ReadFile(filepath.Join(a.dir, runningConfig))
	if runningErr == nil && bytes.Equal(whatIsKept(running), whatIsKept(text)) {
		return nil
	}
	// Whatever fails, or is killed, in between: there is always a whole running one.
	next := filepath.Join(a.dir, nextConfig)
	if err := replaceFile(next, text, 0o600); err != nil {
		return err
	}
	if runningErr == nil && json.Valid(running) { // a damaged one is of no use to anybody
		if err := a.copyLink(runningConfig, formerConfig); err != nil {
			return err
		}
	}
	return os.Rename(next, filepath.Join(a.dir, runningConfig))
}

// whatIsKept is the JSON of a kept configuration behind the time since when it is in force.
func whatIsKept(text []byte) []byte {
	_, files, _ := bytes.Cut(text, []byte(`,"file":`))
	return files
}

// copyLink makes the file of one name the file of another, too.
func (a archive) copyLink(from, to string) error {
	between := filepath.Join(a.dir, "."+to)
	if err := os.Remove(between); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed here
		return err
	}
	if err := os.Link(filepath.Join(a.dir, from), between); err != nil {
		return err
	}
	return os.Rename(between, filepath.Join(a.dir, to))
}

// load reads one of the two.
func (a archive) load(name string) (kept, error) {
	var k kept
	text, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return k, fmt.Errorf("%s: %w", filepath.Join(a.dir, name), err)
	}
	return k, nil
}

// replaceFile puts text in the place of a file, all of it or, when that fails or the power does, nothing.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	return replaceFileOf(path, text, mode, -1, -1)
}

// rewriteFile is replaceFile for a file of the operator's: behind a link the file that it leads to is meant, and who may
// read it stays, as the daemon may be somebody else than who rewrites it.
func rewriteFile(path string, text []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return replaceLike(path, text, path)
}

// replaceLike is replaceFile with the owner and the mode of another file.
func replaceLike(path string, text []byte, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	uid, gid := -1, -1
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		uid, gid = int(sys.Uid), int(sys.Gid)
	}
	return replaceFileOf(path, text, info.Mode(), uid, gid)
}

// replaceFileOf is replaceFile with an owner; -1 is whoever runs this.
func replaceFileOf(path string, text []byte, mode fs.FileMode, uid, gid int) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	err = errors.Join(err, f.Chown(uid, gid), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// keepConfig notes for "genkan rollback" what is in force now. Without a state directory nothing is kept.
func (f *front) keepConfig() {
	if f.plan.Proxy.StateDir == "" || f.plan.File == "" {
		return
	}
	k, err := keptOf(f.plan)
	if err == nil {
		err = archiveIn(f.plan.Proxy.StateDir).keep(k)
	}
	if err != nil && f.instance != nil { // else nothing can be kept, as was said
		f.log.Warn("genkan rollback will not find this configuration", "error", err)
	}
}
