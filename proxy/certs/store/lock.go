package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/sys/unix"
)

// lockDir is where the lock files are.
const lockDir = "locks"

// again is how often a lock that another process has is tried. That one may
// be a Genkan that is being replaced, or a "genkan cert" at work.
const again = 100 * time.Millisecond

// Lock waits until the lock is ours, or ctx ends.
func (s *Store) Lock(ctx context.Context, name string) error {
	for {
		s.mu.Lock()
		freed, mine := s.freed, s.held[name] != nil
		s.mu.Unlock()
		if !mine {
			ok, err := s.TryLock(ctx, name)
			if ok || err != nil {
				return err
			}
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("certificates: waiting for the lock %q: %w", name, ctx.Err())
		case <-freed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// TryLock takes the lock where nobody has it.
func (s *Store) TryLock(_ context.Context, name string) (bool, error) {
	end, err := s.begin()
	if err != nil {
		return false, err
	}
	defer end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[name] != nil {
		return false, nil
	}
	file := s.lockFile(name)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600) // close on exec, as all of Go's
	if err != nil {
		return false, fmt.Errorf("certificates: lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil
		}
		return false, fmt.Errorf("certificates: lock %q: %w", file, err)
	}
	if !isStill(f, file) { // its owner has removed it in between: this is a lock on nothing
		f.Close()
		return false, nil
	}
	s.held[name] = f
	return true, nil
}

// isStill tells that f is the file that has the name now.
func isStill(f *os.File, name string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(name)
	return err == nil && os.SameFile(ours, there)
}

// Unlock gives a lock back.
func (s *Store) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.held[name]
	if f == nil {
		return fmt.Errorf("certificates: the lock %q is not held", name)
	}
	delete(s.held, name)
	err := os.Remove(f.Name()) // while it is ours
	if errors.Is(err, os.ErrNotExist) {
		err = nil // what it names is gone; nobody waits on the name
	}
	close(s.freed)
	s.freed = make(chan struct{})
	return errors.Join(err, f.Close())
}

// idle waits until this process has no lock.
func (s *Store) idle(ctx context.Context) error {
	for {
		s.mu.Lock()
		freed, held := s.freed, len(s.held)
		s.mu.Unlock()
		if held == 0 {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return fmt.Errorf("certificates: %d locks are held: %w", held, ctx.Err())
		}
	}
}

// lockFile makes one component of a lock's name.
func (s *Store) lockFile(name string) string {
	return filepath.Join(s.dir, lockDir, certmagic.StorageKeys.Safe(name)+".lock")
}
