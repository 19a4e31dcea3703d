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

// Who tells which client had addr at a moment. False: nobody, or it is no
// longer known.
func (p *Pool) Who(addr netip.Addr, at time.Time) (Mapping, bool) {
	index, ok := p.indexOf(addr)
	if !ok {
		return Mapping{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byIndex[index]; e != nil && !at.Before(e.since) {
		return p.mapping(e), true
	}
	return p.store.past(addr, at)
}

// Where tells which address client has, without giving it one.
func (p *Pool) Where(client acl.Addr) (Mapping, bool) {
	if !client.IsValid() {
		return Mapping{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byClient[keyOf(client)]
	if e == nil {
		return Mapping{}, false
	}
	return p.mapping(e), true
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
