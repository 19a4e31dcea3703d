package pool

import (
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"genkan/acl"
)

// A Config is what a Pool is made of.
type Config struct {
	Name   string
	Prefix netip.Prefix // IPv4, /8 to /29
	// Quarantine is how long an address has to be out of use before another
	// client gets it. Zero: 24 h.
	Quarantine time.Duration
	// Per48 bounds the addresses of one IPv6 /48. Zero: 1/64 of the pool, at
	// least 16.
	Per48 int
	// Domain is our own 6rd prefix, to which Per48 does not apply: a /48 there
	// is 65,536 strangers. Zero: there is none.
	Domain acl.Prefix
	// Log gets a line for each new mapping. Nil discards.
	Log *slog.Logger
}

var (
	// ErrExhausted: all addresses are in use, or in quarantine.
	ErrExhausted = errors.New("pool exhausted")
	// ErrAway: another process gives the addresses, and this client has none yet.
	ErrAway = errors.New("another process gives the pool's addresses now")
	// ErrShare: the client's /48 has as many addresses as it may.
	ErrShare = errors.New("the client's /48 has its share of the pool")
)

// A Pool maps clients to addresses. It is safe for concurrent use.
// Open makes one.
type Pool struct {
	config Config
	store  *bucket
	first  uint32 // the address of index 0
	size   int    // addresses for clients

	mu       sync.Mutex // guards the fields below
	byClient map[key]*entry
	byIndex  map[int]*entry
	lru      *list.List            // of *entry, least recently used in front
	open     int                   // leases
	next     int                   // the lowest index that was never given
	sites    map[uint64]*list.List // the same by /48
	spare    []spare               // after a crash: given perhaps, to whom is lost
	frozen   bool                  // another process gives new addresses
}

// A key is a client as the pool counts it.
type key struct {
	bits uint64 // the /64, or the IPv4 address
	is4  bool
}

// An entry is one mapping.
type entry struct {
	key         key
	index       int
	open        int // leases
	since, last time.Time
	element     *list.Element // in Pool.lru
	inSite      *list.Element // in Pool.sites; nil for IPv4
}

// A spare is an address that nobody has, but that is not to be given yet.
type spare struct {
	index int
	since time.Time
}

// Open makes a Pool and reads back what store has of it. A nil store keeps
// nothing.
func Open(config Config, store *Store) (*Pool, error) {
	if err := config.fill(); err != nil {
		return nil, err
	}
	p := &Pool{
		config: config,
		// The first address and the last two are not clients': networks and
		// broadcasts look like that, and one is for probes.
		first:    ipv4Number(config.Prefix.Addr()) + 1,
		size:     1<<(32-config.Prefix.Bits()) - 3,
		byClient: map[key]*entry{},
		byIndex:  map[int]*entry{},
		lru:      list.New(),
		sites:    map[uint64]*list.List{},
	}
	if config.Per48 == 0 {
		p.config.Per48 = max(16, p.size/64)
	}
	if store != nil {
		p.store = &bucket{store: store, name: config.Name, prefix: config.Prefix, addr: p.addr, block: min(256, max(1, p.size/16))}
	}
	if err := p.restore(); err != nil {
		return nil, fmt.Errorf("pool %q: %w", config.Name, err)
	}
	return p, nil
}

func (c *Config) fill() error {
	c.Prefix = c.Prefix.Masked()
	switch {
	case !c.Prefix.Addr().Is4() || c.Prefix.Bits() < 8 || c.Prefix.Bits() > 29:
		return fmt.Errorf("pool %q: prefix %q: write an IPv4 prefix from /8 to /29, such as \"100.64.0.0/16\"", c.Name, c.Prefix)
	case c.Quarantine < 0 || c.Per48 < 0:
		return fmt.Errorf("pool %q: a negative value; leave it out for the default", c.Name)
	}
	if c.Quarantine == 0 {
		c.Quarantine = 24 * time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// A Lease is the use of an address by a client's connection. While there is
// one the address is the client's.
type Lease struct {
	Addr netip.Addr
	pool *Pool
	e    *entry
	once sync.Once
}

// Lease gives the address of client: the one it had, or a new one.
func (p *Pool) Lease(client acl.Addr) (*Lease, error) {
	if !client.IsValid() {
		return nil, errors.New("pool: no client address")
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byClient[keyOf(client)]
	if e == nil && p.frozen {
		return nil, ErrAway
	}
	if e == nil {
		var err error
		if e, err = p.allocate(keyOf(client), now); err != nil {
			return nil, err
		}
	}
	e.open++
	p.open++
	p.touch(e, now)
	return &Lease{Addr: p.addr(e.index), pool: p, e: e}, nil
}

// Release ends the use. Only the first call counts.
func (l *Lease) Release() {
	l.once.Do(func() {
		l.pool.mu.Lock()
		defer l.pool.mu.Unlock()
		l.e.open--
		l.pool.open--
		l.pool.touch(l.e, time.Now())
	})
}

// touch marks e as used now. p.mu is held.
func (p *Pool) touch(e *entry, now time.Time) {
	e.last = now
	p.lru.MoveToBack(e.element)
	if e.inSite != nil {
		p.sites[e.key.site()].MoveToBack(e.inSite)
	}
	p.store.touched(e)
}

// allocate makes a mapping for a client that has none. p.mu is held.
func (p *Pool) allocate(k key, now time.Time) (*entry, error) {
	index, err := p.freeIndex(k, now)
	if err != nil {
		return nil, err
	}
	e := &entry{key: k, index: index, since: now}
	p.insert(e)
	p.store.mapped(e)
	p.config.Log.Info("pool mapping", "pool", p.config.Name, "address", p.addr(index), "client", k.prefix())
	return e, nil
}

// freeIndex finds an address for a new client: one that nobody ever had, or
// else the one that is out of use for longest, if that is long enough. A /48
// that has its share must do with its own. p.mu is held.
func (p *Pool) freeIndex(k key, now time.Time) (int, error) {
	site := p.sites[k.site()]
	if !k.is4 && site != nil && site.Len() >= p.config.Per48 && !p.config.Domain.Contains(acl.AddrFrom(k.prefix().Addr())) {
		if index, ok := p.recycle(site, now); ok {
			return index, nil
		}
		return 0, fmt.Errorf("%w %q (%d addresses)", ErrShare, p.config.Name, p.config.Per48)
	}
	if p.next < p.size {
		p.store.reserve(p.next)
		p.next++
		return p.next - 1, nil
	}
	if len(p.spare) > 0 && now.Sub(p.spare[0].since) >= p.config.Quarantine {
		index := p.spare[0].index
		p.spare = p.spare[1:]
		return index, nil
	}
	if index, ok := p.recycle(p.lru, now); ok {
		return index, nil
	}
	return 0, fmt.Errorf("%w: %q (%s) has no address that is out of use for %s", ErrExhausted, p.config.Name, p.config.Prefix, p.config.Quarantine)
}

// recycle takes the mapping from which nobody came for longest out of lru, if
// it is out of quarantine, and gives its index. p.mu is held.
func (p *Pool) recycle(lru *list.List, now time.Time) (int, bool) {
	for range lru.Len() {
		e := lru.Front().Value.(*entry)
		switch {
		case e.open > 0:
			p.touch(e, now) // in use all along: not old at all
		case now.Sub(e.last) < p.config.Quarantine:
			return 0, false
		default:
			p.remove(e)
			return e.index, true
		}
	}
	return 0, false
}

// insert enters e everywhere. p.mu is held, or p is not shared yet.
func (p *Pool) insert(e *entry) {
	p.byClient[e.key], p.byIndex[e.index] = e, e
	e.element = p.lru.PushBack(e)
	if e.key.is4 {
		return
	}
	site := p.sites[e.key.site()]
	if site == nil {
		site = list.New()
		p.sites[e.key.site()] = site
	}
	e.inSite = site.PushBack(e)
}

// remove takes e out everywhere; the store remembers who it was. p.mu is held.
func (p *Pool) remove(e *entry) {
	delete(p.byClient, e.key)
	delete(p.byIndex, e.index)
	p.lru.Remove(e.element)
	if e.inSite != nil {
		site := p.sites[e.key.site()]
		if site.Remove(e.inSite); site.Len() == 0 {
			delete(p.sites, e.key.site())
		}
	}
	p.store.ended(e)
}

// Close notes how far the pool was used, so that the next one goes on there.
// Leases may still be released.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store.settle(p.next)
}

// Freeze makes a pool give addresses only to those who have one, so that
// another process can go on with it, once Store.Suspend has closed the file.
// With false it gives them to all again.
func (p *Pool) Freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen = frozen; frozen {
		p.store.settle(p.next)
	}
}

// Probe is the address for this machine's own checks of backends: no client
// has it, so no limit or ban that checks run into hits one.
func (p *Pool) Probe() netip.Addr { return p.addr(p.size) }

// Prefix is the range of the pool.
func (p *Pool) Prefix() netip.Prefix { return p.config.Prefix }

// addr gives the address of an index.
func (p *Pool) addr(index int) netip.Addr {
	return ipv4(p.first + uint32(index))
}

// indexOf gives the index of an address, if it is one of a client.
func (p *Pool) indexOf(addr netip.Addr) (int, bool) {
	if !addr.Is4() || !p.config.Prefix.Contains(addr) {
		return 0, false
	}
	index := int(ipv4Number(addr)) - int(p.first)
	return index, 0 <= index && index < p.size
}

func keyOf(client acl.Addr) key {
	if client.Is4() {
		b := client.Netip().As4()
		return key{uint64(binary.BigEndian.Uint32(b[:])), true}
	}
	b := client.Netip().As16()
	return key{binary.BigEndian.Uint64(b[:8]), false}
}

// site is the /48 of an IPv6 key.
func (k key) site() uint64 { return k.bits >> 16 }

// prefix is the customer behind k: a /64 or a /32.
func (k key) prefix() netip.Prefix {
	if k.is4 {
		return netip.PrefixFrom(ipv4(uint32(k.bits)), 32)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], k.bits)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

func ipv4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func ipv4Number(addr netip.Addr) uint32 {
	b := addr.As4()
	return binary.BigEndian.Uint32(b[:])
}

// Adjust changes the limits of the pool to those of config; name and prefix
// stay as they are.
func (p *Pool) Adjust(config Config) error {
	config.Prefix = p.config.Prefix
	if err := config.fill(); err != nil {
		return err
	}
	if config.Per48 == 0 {
		config.Per48 = max(16, p.size/64)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config.Quarantine, p.config.Per48, p.config.Domain = config.Quarantine, config.Per48, config.Domain
	return nil
}
