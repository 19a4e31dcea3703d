package list

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"genkan/acl"
	"os"
	"path/filepath"
)

// MaxAdded bounds the entries that one list has at run time. More belong into
// a file.
const MaxAdded = 100_000

// maxLife bounds the time that an entry holds: the file counts nanoseconds,
// which end in 2262.
const maxLife = 100 * 365 * 24 * time.Hour

// A Book holds the entries that are added to lists at run time, and their
// ends, in one bbolt file. Only one process can have the file open.
type Book struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex                      // guards the fields below and what the maps hold
	db      *bbolt.DB                       // nil between Suspend and Resume
	entries map[string]map[string]acl.Entry // by list, by canonical text
	bound   map[string]*acl.List            // by name
	changed chan struct{}                   // tells Serve that the next end may be nearer
}

var bucketName = []byte("lists")

// OpenBook opens or makes the file, with its folder. log nil discards.
func OpenBook(path string, log *slog.Logger) (*Book, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	b := &Book{path: path, log: log, entries: map[string]map[string]acl.Entry{},
		bound: map[string]*acl.List{}, changed: make(chan struct{}, 1)}
	if err := b.open(); err != nil {
		return nil, err
	}
	if err := b.read(); err != nil {
		b.db.Close()
		return nil, fmt.Errorf("list: read %q: %w", path, err)
	}
	return b, nil
}

func (b *Book) open() error {
	db, err := bbolt.Open(b.path, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		if errors.Is(err, berrors.ErrTimeout) {
			err = errors.New("another process has it open")
		}
		return fmt.Errorf("list: open %q: %w", b.path, err)
	}
	b.db = db
	return nil
}

// Suspend closes the file, for another process that goes on with it. Until
// Resume nothing can be added; what ends is forgotten here only.
func (b *Book) Suspend() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	db := b.db
	if b.db = nil; db == nil {
		return nil
	}
	return db.Close()
}

// Resume ends Suspend, where the other process has let go of the file.
func (b *Book) Resume() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open()
}

var errAway = errors.New("another process has the lists now; ask that one")

// read loads the file. The layout is lists/NAME/ENTRY = end in Unix
// nanoseconds, 8 bytes big-endian, 0 for never.
func (b *Book) read() error {
	return b.db.View(func(tx *bbolt.Tx) error {
		root := tx.Bucket(bucketName)
		if root == nil {
			return nil
		}
		return root.ForEachBucket(func(name []byte) error {
			return root.Bucket(name).ForEach(func(k, v []byte) error {
				r, err := acl.ParseEntry(string(k))
				if err != nil || len(v) != 8 {
					return fmt.Errorf("list %q: entry %q is damaged", name, k)
				}
				e := acl.Entry{Range: r}
				if ns := binary.BigEndian.Uint64(v); ns != 0 {
					e.Until = time.Unix(0, int64(ns))
				}
				b.put(string(name), e) // one that has ended too: Serve takes it out of the file
				return nil
			})
		})
	})
}

func (b *Book) put(name string, e acl.Entry) {
	if b.entries[name] == nil {
		b.entries[name] = map[string]acl.Entry{}
	}
	b.entries[name][e.Range.Short()] = e
}

// Bind makes a list carry the entries of its name from now on. A list that was
// bound to the name before is no longer changed.
func (b *Book) Bind(name string, l *acl.List) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bound[name] = l
	b.publish(name)
}

// Add adds an entry (prefix, address or range) to a list, for a time, or for
// good if that is 0. An equal entry gets the new end. The list need not be
// bound.
func (b *Book) Add(name, text string, life time.Duration) (acl.Entry, error) {
	r, err := acl.ParseEntry(text)
	if err != nil {
		return acl.Entry{}, err
	}
	if life < 0 || life > maxLife {
		return acl.Entry{}, fmt.Errorf("%v is no time to live; write one up to 36500d, or none for good", life)
	}
	e := acl.Entry{Range: r}
	if life > 0 {
		e.Until = time.Now().Add(life).Round(0)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.db == nil {
		return acl.Entry{}, errAway
	}
	if _, known := b.entries[name][r.Short()]; !known && len(b.entries[name]) >= MaxAdded {
		return acl.Entry{}, fmt.Errorf("list %q has %d entries added at run time, which is the most; put them into a file", name, MaxAdded)
	}
	err = b.db.Update(func(tx *bbolt.Tx) error {
		bucket, err := listBucket(tx, name)
		if err != nil {
			return err
		}
		var end [8]byte
		if !e.Until.IsZero() {
			binary.BigEndian.PutUint64(end[:], uint64(e.Until.UnixNano()))
		}
		return bucket.Put([]byte(r.Short()), end[:])
	})
	if err != nil {
		return acl.Entry{}, fmt.Errorf("list %q: keep %s: %w", name, r.Short(), err)
	}
	b.put(name, e)
	b.publish(name)
	return e, nil
}

func listBucket(tx *bbolt.Tx, name string) (*bbolt.Bucket, error) {
	root, err := tx.CreateBucketIfNotExists(bucketName)
	if err != nil {
		return nil, err
	}
	return root.CreateBucketIfNotExists([]byte(name))
}

// Del takes away an entry that Add has added. The error of one that is not
// there says so.
func (b *Book) Del(name, text string) error {
	r, err := acl.ParseEntry(text)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.db == nil {
		return errAway
	}
	if _, known := b.entries[name][r.Short()]; !known {
		return fmt.Errorf("list %q has no entry %s that was added at run time", name, r.Short())
	}
	return b.forget(name, []string{r.Short()})
}

// forget removes entries by their text, from the file first.
func (b *Book) forget(name string, texts []string) error {
	var err error
	if b.db != nil {
		err = b.db.Update(func(tx *bbolt.Tx) error {
			bucket, err := listBucket(tx, name)
			if err != nil {
				return err
			}
			for _, text := range texts {
				if err := bucket.Delete([]byte(text)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("list %q: forget %d entries: %w", name, len(texts), err)
	}
	for _, text := range texts {
		delete(b.entries[name], text)
	}
	b.publish(name)
	return nil
}

// Show returns the entries of a list that were added and have not ended, in
// order.
func (b *Book) Show(name string) []acl.Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var out []acl.Entry
	for _, e := range b.entries[name] {
		if e.Alive(now) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(x, y acl.Entry) int { return x.Range.First.Compare(y.Range.First) })
	return out
}

// publish gives a list its entries, and wakes Serve.
func (b *Book) publish(name string) {
	if l := b.bound[name]; l != nil {
		entries := make([]acl.Entry, 0, len(b.entries[name]))
		for _, e := range b.entries[name] {
			entries = append(entries, e)
		}
		l.SetEntries(entries, time.Now())
	}
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Serve forgets entries as they end, until ctx ends.
func (b *Book) Serve(ctx context.Context) error {
	for {
		next := b.expire()
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-b.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// longest is how long Serve sleeps at most.
const longest = time.Hour

// expire forgets what has ended and returns the time to the next end.
func (b *Book) expire() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, next := time.Now(), longest
	for name, entries := range b.entries {
		var ended []string
		for text, e := range entries {
			switch {
			case !e.Alive(now):
				ended = append(ended, text)
			case !e.Until.IsZero():
				next = min(next, e.Until.Sub(now))
			}
		}
		if ended == nil {
			continue
		}
		if err := b.forget(name, ended); err != nil {
			b.log.Error("ended list entries stay in the file", "list", name, "cause", err)
			next = min(next, time.Minute)
			continue
		}
		b.log.Info("list entries ended", "list", name, "entries", len(ended))
	}
	return max(next, time.Millisecond)
}

// Close closes the file. Lists keep the entries they have.
func (b *Book) Close() error { return b.Suspend() }
