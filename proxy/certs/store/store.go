package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
)

// A Store is a certmagic.Storage in a directory. Several processes may have
// the same one open. The zero Store keeps nothing; use Open.
type Store struct {
	dir string

	mu    sync.Mutex // guards held
	held  map[string]*os.File
	freed chan struct{} // closed, and made anew, when a lock is given back

	changes sync.RWMutex // held for reading while a file changes; guards closed
	closed  bool
}

var errClosed = errors.New("certificates: the store is closed")

// begin lets nobody close the store until a change has ended.
func (s *Store) begin() (end func(), err error) {
	s.changes.RLock()
	if s.closed {
		s.changes.RUnlock()
		return nil, errClosed
	}
	return s.changes.RUnlock, nil
}

// Close waits until this process has no lock, or ctx ends. From then on nothing
// changes in the directory by s, whoever still tries; what is there can be read.
func (s *Store) Close(ctx context.Context) error {
	err := s.idle(ctx)
	s.changes.Lock()
	defer s.changes.Unlock()
	s.closed = true
	return err
}

// Open opens the store in dir, which is made where it is not there. Nobody
// but its owner can read what is in it.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, lockDir), 0o700); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	return &Store{dir: dir, held: map[string]*os.File{}, freed: make(chan struct{})}, nil
}

// Dir is the directory.
func (s *Store) Dir() string { return s.dir }

// largest bounds a file that is read: a certificate's chain is a few KiB.
const largest = 1 << 20

// file gives the path of a key. A key cannot lead out of the directory.
func (s *Store) file(key string) (string, error) {
	if !filepath.IsLocal(key) || filepath.Clean(key) == "." || strings.ContainsRune(key, 0) {
		return "", fmt.Errorf("certificates: %q is no key of the store", key)
	}
	return filepath.Join(s.dir, key), nil
}

// Store writes value, all of it or nothing.
func (s *Store) Store(_ context.Context, key string, value []byte) error {
	name, err := s.file(key)
	if err != nil {
		return err
	}
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return replace(name, value)
}

// replace puts a file in the place of another.
func replace(name string, value []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), temporary+"*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(value)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// temporary begins the names of files that are being written. A crash may
// leave some; no key looks like this, as certmagic's have no such sign.
const temporary = ",new-"

// syncDir brings a rename to the disk.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads a value; fs.ErrNotExist where there is none.
func (s *Store) Load(_ context.Context, key string) ([]byte, error) {
	name, err := s.file(key)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.Size() > largest:
		return nil, fmt.Errorf("certificates: %q has %d bytes, more than any certificate; look at what it is", name, info.Size())
	case info.IsDir():
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(name)
}

// Delete removes a key, or all below it. It is no error if it is not there.
func (s *Store) Delete(_ context.Context, key string) error {
	name, err := s.file(key)
	if err != nil {
		return err
	}
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	return os.RemoveAll(name)
}

// Exists tells whether there is such a key, or one below it.
func (s *Store) Exists(_ context.Context, key string) bool {
	name, err := s.file(key)
	if err != nil {
		return false
	}
	_, err = os.Stat(name)
	return err == nil
}

// List gives the keys right below prefix, or all below it.
func (s *Store) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	root, err := s.file(path.Clean(prefix))
	if err != nil {
		return nil, err
	}
	var keys []string
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == root || strings.HasPrefix(d.Name(), temporary) {
			return err
		}
		key, err := filepath.Rel(s.dir, name)
		if err != nil {
			return err
		}
		keys = append(keys, filepath.ToSlash(key))
		if d.IsDir() && !recursive {
			return fs.SkipDir
		}
		return nil
	})
	return keys, err
}

// Stat tells about a key.
func (s *Store) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	name, err := s.file(key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key, Modified: info.ModTime(), Size: info.Size(), IsTerminal: !info.IsDir()}, nil
}
