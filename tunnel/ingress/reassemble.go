package ingress

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"time"
)

// Bounds of a Reassembler. Together they keep it under 10 MB.
const (
	maxDatagrams  = 256              // that are incomplete, at any time
	maxPerSource  = 64               // of those from one outer source
	maxDatagram   = 16 << 10         // bytes of one reassembled packet
	maxParts      = 32               // fragments of one datagram
	reassemblyAge = 15 * time.Second // RFC 791 §3.2
)

// A Reassembler puts outer IPv4 fragments together, so that Check sees whole
// packets only. What a sender can make it hold is bounded in number, by source,
// in bytes and in time; at a bound the oldest datagram goes, since fragments
// that belong together arrive together. It is not safe for concurrent use; the
// zero Reassembler is ready.
type Reassembler struct {
	held    map[datagramKey]*list.Element // of order
	order   list.List                     // of *datagram, oldest first
	sources map[uint32]int                // datagrams held by outer source
	expired int
	evicted int
}

// A datagramKey is what the fragments of one datagram share (RFC 791 §3.2); the
// protocol is always 41.
type datagramKey struct {
	src, dst uint32
	id       uint16
}

type datagram struct {
	key      datagramKey
	deadline time.Time
	header   []byte // of the fragment with offset 0
	data     []byte // from offset 0, with holes
	parts    []part
	total    int // bytes of data; 0: the last fragment is still missing
	dead     bool
	ecn      ecnSet
}

type part struct{ from, to int }

// Add takes a packet for which Check said Fragment. It returns the whole packet
// and Pass when pkt completed it; the packet is then the caller's. Else it
// returns Fragment (kept, more to come) or the reason for the drop.
func (a *Reassembler) Add(pkt []byte, now time.Time) ([]byte, Reason) {
	hdr, total, r := outer(pkt)
	if r != Pass {
		return nil, r
	}
	field := binary.BigEndian.Uint16(pkt[6:])
	more, from := field&0x2000 != 0, int(field&0x1fff)*8
	data := pkt[hdr:total]
	if !more && from == 0 {
		return append([]byte(nil), pkt[:total]...), Pass
	}
	if len(data) == 0 || more && len(data)%8 != 0 {
		return nil, OuterMalformed
	}
	if from+len(data) > maxDatagram {
		return nil, FragmentLimit
	}
	a.Expire(now)
	k := datagramKey{binary.BigEndian.Uint32(pkt[12:]), binary.BigEndian.Uint32(pkt[16:]), binary.BigEndian.Uint16(pkt[4:])}
	d := a.datagram(k, now)
	if r := d.add(from, data, more); r != Fragment {
		d.kill()
		return nil, r
	}
	d.ecn.add(pkt[1])
	if from == 0 {
		d.header = append([]byte(nil), pkt[:hdr]...)
	}
	if !d.complete() {
		return nil, Fragment
	}
	a.forget(d)
	return d.whole()
}

// Expire drops the datagrams whose time is over.
func (a *Reassembler) Expire(now time.Time) {
	for e := a.order.Front(); e != nil; e = a.order.Front() {
		d := e.Value.(*datagram)
		if now.Before(d.deadline) {
			return
		}
		if !d.dead {
			a.expired++
		}
		a.forget(d)
	}
}

// Lost returns how many datagrams timed out and how many went at a bound since
// the last call, for the counters of FragmentTimeout and FragmentLimit.
func (a *Reassembler) Lost() (timeout, limit int) {
	timeout, limit = a.expired, a.evicted
	a.expired, a.evicted = 0, 0
	return timeout, limit
}

// datagram returns the datagram of a key, making room for a new one.
func (a *Reassembler) datagram(k datagramKey, now time.Time) *datagram {
	if e := a.held[k]; e != nil {
		return e.Value.(*datagram)
	}
	if a.held == nil {
		a.held, a.sources = map[datagramKey]*list.Element{}, map[uint32]int{}
	}
	if a.sources[k.src] >= maxPerSource {
		a.evict(func(d *datagram) bool { return d.key.src == k.src })
	}
	if a.order.Len() >= maxDatagrams {
		a.evict(func(*datagram) bool { return true })
	}
	d := &datagram{key: k, deadline: now.Add(reassemblyAge)}
	a.held[k] = a.order.PushBack(d)
	a.sources[k.src]++
	return d
}

// evict drops the oldest datagram of those that match.
func (a *Reassembler) evict(match func(*datagram) bool) {
	for e := a.order.Front(); e != nil; e = e.Next() {
		if d := e.Value.(*datagram); match(d) {
			if !d.dead {
				a.evicted++
			}
			a.forget(d)
			return
		}
	}
}

func (a *Reassembler) forget(d *datagram) {
	a.order.Remove(a.held[d.key])
	delete(a.held, d.key)
	if a.sources[d.key.src]--; a.sources[d.key.src] <= 0 {
		delete(a.sources, d.key.src)
	}
}

// add stores a fragment. The network may deliver one twice; any other overlap
// was not made by an honest sender and ends the datagram (RFC 5722, RFC 1858).
func (d *datagram) add(from int, data []byte, more bool) Reason {
	if d.dead {
		return FragmentOverlap
	}
	to := from + len(data)
	for _, p := range d.parts {
		if p == (part{from, to}) && more == (to != d.total) && bytes.Equal(d.data[from:to], data) {
			return Fragment
		}
		if from < p.to && p.from < to {
			return FragmentOverlap
		}
	}
	switch {
	case len(d.parts) == maxParts:
		return FragmentLimit
	case d.total > 0 && (to > d.total || !more): // beyond the end, or a second end
		return FragmentOverlap
	}
	if !more {
		for _, p := range d.parts {
			if p.to > to {
				return FragmentOverlap
			}
		}
		d.total = to
	}
	if len(d.data) < to {
		d.data = append(d.data, make([]byte, to-len(d.data))...)
	}
	copy(d.data[from:], data)
	d.parts = append(d.parts, part{from, to})
	return Fragment
}

// kill keeps the key until the deadline, so that late fragments are dropped
// too, but none of the bytes.
func (d *datagram) kill() { *d = datagram{key: d.key, deadline: d.deadline, dead: true} }

// complete reports whether all bytes are there; parts never overlap.
func (d *datagram) complete() bool {
	n := 0
	for _, p := range d.parts {
		n += p.to - p.from
	}
	return d.total > 0 && n == d.total
}

// whole returns the datagram as one unfragmented packet.
func (d *datagram) whole() ([]byte, Reason) {
	tos, ok := d.ecn.tos(d.header[1])
	if !ok {
		return nil, ECN
	}
	n := len(d.header)
	pkt := append(d.header, d.data...)
	pkt[1] = tos
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	pkt[6], pkt[7] = 0, 0
	pkt[10], pkt[11] = 0, 0
	binary.BigEndian.PutUint16(pkt[10:], ^sum16(pkt[:n]))
	return pkt, Pass
}

// An ecnSet is which ECN codepoints the fragments of a datagram had.
type ecnSet uint8

func (e *ecnSet) add(tos byte) { *e |= 1 << (tos & 3) }

// tos merges the marks (RFC 3168 §5.3): one CE marks the whole, unless another
// fragment was not ECN-capable, which ends it.
func (e ecnSet) tos(first byte) (byte, bool) {
	const notECT, ce = 1 << 0, 1 << 3
	switch {
	case e&ce != 0 && e&notECT != 0:
		return 0, false
	case e&ce != 0:
		return first | 3, true
	}
	return first, true
}
