package pool

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// A Store is the file in which pools outlive the process. Writes are gathered
// and done in one transaction, soon, by a goroutine that Close ends.
type Store struct {
	path string
	log  *slog.Logger
	db   atomic.Pointer[bbolt.DB] // a closed one while suspended

	writing sync.Mutex // guards parted, and lets one flush at a time
	parted  bool       // between Suspend and Resume: another process may have the file

	mu      sync.Mutex // guards pending and failing
	pending map[*bucket]*changes
	failing bool

	wake, quit chan struct{}
	done       sync.WaitGroup
}

// How long changes may wait: new mappings, and mere times of last use.
const (
	writeSoon  = 50 * time.Millisecond
	writeLater = 30 * time.Second
)

// OpenStore opens or makes the file. Another process that has it open is an
// error. A nil log discards.
func OpenStore(path string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("pool: make the folder of %q: %w", path, err)
	}
	s := &Store{
		path: path, log: log,
		pending: map[*bucket]*changes{},
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.done.Go(s.run)
	return s, nil
}

func (s *Store) open() error {
	db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("pool: open %q: another process has it; is genkan running twice?", s.path)
	}
	if err != nil {
		return fmt.Errorf("pool: open %q: %w", s.path, err)
	}
	s.db.Store(db)
	return nil
}

// Suspend writes what is left and closes the file, for another process that
// goes on with it. Pools that are frozen may still be used. A nil Store has
// nothing to close.
func (s *Store) Suspend() error {
	if s == nil {
		return nil
	}
	err := s.flush()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.parted = true
	return errors.Join(err, s.db.Load().Close())
}

// Resume ends Suspend, where the other process has let go of the file.
func (s *Store) Resume() error {
	if s == nil {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	s.parted = false
	return nil
}

// Close writes what is left and closes the file. A nil Store is closed.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	close(s.quit)
	s.done.Wait()
	return errors.Join(s.flush(), s.db.Load().Close())
}

// run writes changes until Close.
func (s *Store) run() {
	later := time.NewTicker(writeLater)
	defer later.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-later.C:
		case <-s.wake:
			select { // gather what comes in a burst
			case <-time.After(writeSoon):
			case <-s.quit:
				return
			}
		}
		s.note(s.flush())
	}
}

// note logs when writing begins to fail and when it works again. Pools go on
// from memory meanwhile.
func (s *Store) note(err error) {
	s.mu.Lock()
	changed := (err != nil) != s.failing
	s.failing = err != nil
	s.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		s.log.Error("pool mappings cannot be kept", "file", s.path, "cause", err)
	default:
		s.log.Info("pool mappings are kept again", "file", s.path)
	}
}

// flush writes all pending changes; those that fail stay pending, and so do
// those that come after Suspend.
func (s *Store) flush() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.parted {
		return nil
	}
	s.mu.Lock()
	pending := s.pending
	s.pending = map[*bucket]*changes{}
	s.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	err := s.db.Load().Update(func(tx *bbolt.Tx) error {
		for b, c := range pending {
			if err := b.write(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for b, old := range pending {
		if fresh := s.pending[b]; fresh != nil {
			old.merge(fresh)
		}
		s.pending[b] = old
	}
	return err
}

// update is one transaction of its own. Between Suspend and Resume there is none.
func (s *Store) update(edit func(*bbolt.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.parted {
		return nil
	}
	return s.db.Load().Update(edit)
}

// change lets edit add to the pending changes of b; soon asks for them to be
// written now.
func (s *Store) change(b *bucket, soon bool, edit func(*changes)) {
	s.mu.Lock()
	c := s.pending[b]
	if c == nil {
		c = &changes{now: map[netip.Addr]record{}}
		s.pending[b] = c
	}
	edit(c)
	s.mu.Unlock()
	if soon {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
