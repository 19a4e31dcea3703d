package pool

import (
	"net/netip"
	"time"

	"genkan/acl"
)

// A Mapping says which client an address stood for, and when.
type Mapping struct {
	Addr   netip.Addr
	Client netip.Prefix // an IPv6 /64 or an IPv4 /32
	Since  time.Time
	Last   time.Time // last use
	Open   int       // connections now
}

// Who tells which client had addr at a moment. False: nobody, or
// it is no longer known.
func (p *Pool) Who(addr netip.Addr, at time.Time) (Mapping, bool) {
	index, ok := p.indexOf(addr)
	if !ok {
		return Mapping{}, false
	}
	return p.find(at, func() *entry { return p.byIndex[index] }, func(a netip.Addr, _ key) bool { return a == addr })
}

// Where tells which address client had at a moment, without giving it one.
func (p *Pool) Where(client acl.Addr, at time.Time) (Mapping, bool) {
	if !client.IsValid() {
		return Mapping{}, false
	}
	mine := keyOf(client)
	return p.find(at, func() *entry { return p.byClient[mine] }, func(_ netip.Addr, k key) bool { return k == mine })
}

// find looks for a mapping at a moment: the present one, if it is as old, or else
// the one of the past that matches.
func (p *Pool) find(at time.Time, present func() *entry, matches func(netip.Addr, key) bool) (Mapping, bool) {
	p.mu.Lock()
	e, now := present(), Mapping{}
	if e != nil {
		now = p.mapping(e)
	}
	p.mu.Unlock() // clients need not wait for the disk
	if e != nil && !at.Before(now.Since) {
		return now, true
	}
	if before, ok := p.store.past(at, matches); ok && !p.heir(before.Addr, at) {
		return before, true
	}
	return now, e != nil && at.Unix() == now.Since.Unix()
}

// heir tells that addr had the client at a moment which it has now.
func (p *Pool) heir(addr netip.Addr, at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	index, _ := p.indexOf(addr)
	e := p.byIndex[index]
	return e != nil && !at.Before(e.since)
}

// mapping is e for others. p.mu is held.
func (p *Pool) mapping(e *entry) Mapping {
	return Mapping{p.addr(e.index), e.key.prefix(), e.since, e.last, e.open}
}

// Stats is how full a Pool is.
type Stats struct {
	Name   string `json:"name"`
	Size   int    `json:"size"`   // addresses for clients
	Mapped int    `json:"mapped"` // that have a client
	Open   int    `json:"open"`   // connections from them now
}

// Stats counts.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Name: p.config.Name, Size: p.size, Mapped: len(p.byIndex), Open: p.open}
}
