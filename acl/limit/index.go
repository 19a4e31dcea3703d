package limit

import "time"

// The index is open addressing with linear probing. A place holds 0, or the
// number of an entry + 1 in the low bits and a tag from its hash above, which
// spares reading most entries that are not the one.
const (
	numberBits = 20
	numberMask = 1<<numberBits - 1
	maxEntries = numberMask - 1 // of one shard

	hugeIndex = 8192 // places of one shard from which on they and the entries lie in the slab
)

// home is where the search for a hash starts; the low bits chose the shard,
// the high ones are the tag.
func home(hash uint64) uint32 { return uint32(hash >> 8) }

func tag(hash uint64) uint32 { return uint32(hash>>32) &^ numberMask }

// lookup returns the entry of a hash, or nil.
func (sh *shard) lookup(hash uint64) *entry {
	if len(sh.index) == 0 {
		return nil
	}
	mask, tag := uint32(len(sh.index)-1), tag(hash)
	for i := home(hash) & mask; sh.index[i] != 0; i = (i + 1) & mask {
		if sh.index[i]&^numberMask != tag {
			continue
		}
		if e := sh.entry(sh.index[i]&numberMask - 1); e.hash == hash {
			return e
		}
	}
	return nil
}

// insert adds an entry for a hash that has none.
func (sh *shard) insert(now time.Duration, hash uint64) *entry {
	if 4*(sh.count-len(sh.free)+1) > 3*len(sh.index) {
		sh.grow()
	}
	var n uint32
	if last := len(sh.free) - 1; last >= 0 {
		n, sh.free = sh.free[last], sh.free[:last]
	} else {
		n = uint32(sh.count)
		if sh.count%chunk == 0 {
			sh.chunks = append(sh.chunks, sh.newChunk())
		}
		sh.count++
	}
	sh.link(hash, n)
	e := sh.entry(n)
	*e = entry{hash: hash, base: int64(now)}
	return e
}

// newChunk returns room for entries; small tables need no huge pages.
func (sh *shard) newChunk() *[chunk]entry {
	if len(sh.index) < hugeIndex {
		return new([chunk]entry)
	}
	return (*[chunk]entry)(carve[entry](sh.slab, chunk))
}

// link puts an entry number into the first empty place of the hash.
func (sh *shard) link(hash uint64, n uint32) {
	mask := uint32(len(sh.index) - 1)
	i := home(hash) & mask
	for sh.index[i] != 0 {
		i = (i + 1) & mask
	}
	sh.index[i] = tag(hash) | (n + 1)
}

func (sh *shard) grow() {
	old := sh.index
	if places := 2 * len(old); places >= hugeIndex {
		sh.index = carve[uint32](sh.slab, places)
	} else {
		sh.index = make([]uint32, max(64, places))
	}
	for _, place := range old {
		if place != 0 {
			n := place&numberMask - 1
			sh.link(sh.entry(n).hash, n)
		}
	}
}

// remove gives up an entry. What follows it in the index moves up where it
// may (Knuth 6.4, algorithm R), so that no search meets a hole.
func (sh *shard) remove(n uint32) {
	e := sh.entry(n)
	mask := uint32(len(sh.index) - 1)
	i := home(e.hash) & mask
	for sh.index[i]&numberMask != n+1 {
		i = (i + 1) & mask
	}
	*e = entry{}
	sh.free = append(sh.free, n)
	for j := i; ; {
		sh.index[i] = 0
		for {
			if j = (j + 1) & mask; sh.index[j] == 0 {
				return
			}
			home := home(sh.entry(sh.index[j]&numberMask-1).hash) & mask
			if (j-home)&mask >= (j-i)&mask {
				break
			}
		}
		sh.index[i] = sh.index[j]
		i = j
	}
}
