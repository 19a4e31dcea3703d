package pool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// A bucket is one pool in the file:
//
//	pool/NAME/now    address            → record     the present mappings
//	pool/NAME/past   end, address       → record     who had an address before
//	pool/NAME/meta   prefix             → index      no address from here on was ever given
//
// Numbers are big-endian. A nil bucket keeps nothing.
type bucket struct {
	store    *Store
	name     string
	prefix   netip.Prefix
	addr     func(index int) netip.Addr
	block    int          // addresses reserved at a time
	reserved atomic.Int64 // as on disk
}

// A record is a mapping as it is stored, 25 bytes: a 4 or a 6, the client's
// bits, since and last in Unix seconds.
type record struct {
	key         key
	since, last time.Time
}

// changes are what one transaction is to write.
type changes struct {
	now     map[netip.Addr]record
	past    []pastRecord
	reserve int // zero: as it is
}

type pastRecord struct {
	addr netip.Addr
	record
}

// Bounds of what is kept of the past.
const (
	pastRecords = 1 << 18
	pastAge     = 90 * 24 * time.Hour
)

// The names of buckets.
const rootName, nowName, pastName, metaName = "pool", "now", "past", "meta"

func (c *changes) merge(fresh *changes) {
	maps.Copy(c.now, fresh.now)
	c.reserve = max(c.reserve, fresh.reserve)
	c.past = append(c.past, fresh.past...)
	if over := len(c.past) - pastRecords; over > 0 {
		c.past = c.past[over:]
	}
}

// mapped and touched note a mapping that is new, or used.
func (b *bucket) mapped(e *entry)  { b.put(e, true) }
func (b *bucket) touched(e *entry) { b.put(e, false) }

func (b *bucket) put(e *entry, soon bool) {
	if b == nil {
		return
	}
	addr, r := b.addr(e.index), record{e.key, e.since, e.last}
	b.store.change(b, soon, func(c *changes) { c.now[addr] = r })
}

// ended notes that a client lost its address, which another one gets next.
func (b *bucket) ended(e *entry) {
	if b == nil {
		return
	}
	addr, r := b.addr(e.index), record{e.key, e.since, e.last}
	b.store.change(b, true, func(c *changes) {
		delete(c.now, addr)
		c.past = append(c.past, pastRecord{addr, r})
	})
}

// reserve sees to it that no later process takes index for one that nobody had,
// even if this one is killed before it could write the mapping. It asks for the
// next block when half of the present one is given, so that it seldom has to
// wait for the disk itself.
func (b *bucket) reserve(index int) {
	if b == nil {
		return
	}
	written := int(b.reserved.Load())
	if index >= written {
		b.reserveUpTo(index + b.block)
		return
	}
	if ahead := written + b.block; index == written-(b.block+1)/2 {
		b.store.change(b, true, func(c *changes) { c.reserve = max(c.reserve, ahead) })
	}
}

// reserveUpTo writes at once that addresses up to index may have been given.
func (b *bucket) reserveUpTo(index int) {
	if b == nil {
		return
	}
	b.store.note(b.store.update(func(tx *bbolt.Tx) error { return b.writeReserved(tx, index) }))
	// Also when that failed: then there is no more to be had from the disk.
	b.reserved.Store(int64(index))
}

// settle writes how far the pool was used: nothing is reserved any more.
func (b *bucket) settle(next int) {
	if b == nil {
		return
	}
	b.store.change(b, false, func(c *changes) { c.reserve = 0 })
	b.reserveUpTo(next)
}

func (b *bucket) writeReserved(tx *bbolt.Tx, index int) error {
	meta, err := b.sub(tx, metaName)
	if err != nil {
		return err
	}
	return meta.Put([]byte(b.prefix.String()), binary.BigEndian.AppendUint32(nil, uint32(index)))
}

func (b *bucket) sub(tx *bbolt.Tx, name string) (*bbolt.Bucket, error) {
	root, err := tx.CreateBucketIfNotExists([]byte(rootName))
	if err != nil {
		return nil, err
	}
	mine, err := root.CreateBucketIfNotExists([]byte(b.name))
	if err != nil {
		return nil, err
	}
	return mine.CreateBucketIfNotExists([]byte(name))
}

// write writes c.
func (b *bucket) write(tx *bbolt.Tx, c *changes) error {
	if err := b.writePast(tx, c.past); err != nil {
		return err
	}
	if c.reserve > int(b.reserved.Load()) {
		if err := b.writeReserved(tx, c.reserve); err != nil {
			return err
		}
		tx.OnCommit(func() { b.reserved.Store(int64(c.reserve)) })
	}
	now, err := b.sub(tx, nowName)
	if err != nil {
		return err
	}
	for addr, r := range c.now {
		if err := now.Put(addr.AsSlice(), r.encode()); err != nil {
			return err
		}
	}
	return nil
}

func (b *bucket) writePast(tx *bbolt.Tx, records []pastRecord) error {
	if len(records) == 0 {
		return nil
	}
	past, err := b.sub(tx, pastName)
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := past.Put(pastKey(r.last, r.addr), r.encode()); err != nil {
			return err
		}
	}
	return prune(past)
}

// prune bounds the past by number and age; the oldest come first.
func prune(past *bbolt.Bucket) error {
	over := past.Stats().KeyN - pastRecords
	oldest := pastKey(time.Now().Add(-pastAge), netip.AddrFrom4([4]byte{}))
	cursor := past.Cursor()
	for k, _ := cursor.First(); k != nil && (over > 0 || bytes.Compare(k, oldest) < 0); k, _ = cursor.First() {
		if err := cursor.Delete(); err != nil {
			return err
		}
		over--
	}
	return nil
}

func pastKey(end time.Time, addr netip.Addr) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(end.Unix())), addr.AsSlice()...)
}

func (r record) encode() []byte {
	kind := byte(6)
	if r.key.is4 {
		kind = 4
	}
	out := binary.BigEndian.AppendUint64([]byte{kind}, r.key.bits)
	out = binary.BigEndian.AppendUint64(out, uint64(r.since.Unix()))
	return binary.BigEndian.AppendUint64(out, uint64(r.last.Unix()))
}

func decode(data []byte) (record, error) {
	if len(data) != 25 || data[0] != 4 && data[0] != 6 {
		return record{}, errors.New("not a mapping")
	}
	unix := func(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint64(b)), 0) }
	return record{
		key:   key{binary.BigEndian.Uint64(data[1:]), data[0] == 4},
		since: unix(data[9:]),
		last:  unix(data[17:]),
	}, nil
}

// past looks up the mapping that matches, of a moment before the present ones.
func (b *bucket) past(at time.Time, matches func(netip.Addr, key) bool) (Mapping, bool) {
	if b == nil {
		return Mapping{}, false
	}
	if err := b.store.flush(); err != nil {
		b.store.note(err)
	}
	var found *Mapping
	err := b.store.db.Load().View(func(tx *bbolt.Tx) error {
		mine := b.read(tx, pastName)
		if mine == nil {
			return nil
		}
		cursor := mine.Cursor()
		for k, v := cursor.Seek(pastKey(at, netip.AddrFrom4([4]byte{}))); k != nil; k, v = cursor.Next() {
			r, err := decode(v)
			if err != nil || len(k) != 12 {
				continue
			}
			addr := netip.AddrFrom4([4]byte(k[8:]))
			if !matches(addr, r.key) {
				continue
			}
			if !at.Before(r.since) { // which is in whole seconds
				found = &Mapping{addr, r.key.prefix(), r.since, r.last, 0}
			}
			return nil
		}
		return nil
	})
	if err != nil || found == nil {
		return Mapping{}, false
	}
	return *found, true
}

// read gives a part of the pool, nil when it is not there.
func (b *bucket) read(tx *bbolt.Tx, name string) *bbolt.Bucket {
	if root := tx.Bucket([]byte(rootName)); root != nil {
		if mine := root.Bucket([]byte(b.name)); mine != nil {
			return mine.Bucket([]byte(name))
		}
	}
	return nil
}

// restore reads the mappings back. Those outside the prefix, which the operator
// has changed then, are left out.
func (p *Pool) restore() error {
	if p.store == nil {
		return nil
	}
	var entries []*entry
	err := p.store.store.db.Load().View(func(tx *bbolt.Tx) error {
		if meta := p.store.read(tx, metaName); meta != nil {
			if v := meta.Get([]byte(p.store.prefix.String())); len(v) == 4 {
				p.store.reserved.Store(int64(binary.BigEndian.Uint32(v)))
			}
		}
		now := p.store.read(tx, nowName)
		if now == nil {
			return nil
		}
		return now.ForEach(func(k, v []byte) error {
			addr, _ := netip.AddrFromSlice(k)
			r, err := decode(v)
			if err != nil {
				return fmt.Errorf("%q at %x: %w", p.store.store.path, k, err)
			}
			if index, ok := p.indexOf(addr); ok {
				entries = append(entries, &entry{key: r.key, index: index, since: r.since, last: r.last})
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	p.adopt(entries)
	return nil
}
