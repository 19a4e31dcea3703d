package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"genkan/acl"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// Limits bound what HTTP clients may do, and what all may use. Zero means the
// default, negative is an error. They hold from New on: a reload does not
// change them.
type Limits struct {
	HeaderBytes   int   // of a request's line and fields; 64 KiB
	LineBytes     int   // of a request's line, and of each field; 8 KiB
	HeaderFields  int   // of a request; 200
	Streams       int   // requests at once on a connection of HTTP/2 or HTTP/3; 100
	ControlFrames int   // of HTTP/2 in a second that bring nothing; 1000
	Aborts        int   // of HTTP/2 and HTTP/3 requests in 30 s, where they are more than half; 200
	BodyRate      int   // bytes a second that a request's content brings on average; 64
	ClientConns   int   // HTTP connections at once of one IPv4 address or IPv6 /64, four times as many of a /48; a quarter of MaxConns, at least 256
	Handshakes    int   // of HTTP/3 in a second before clients have to prove their address; 100
	Memory        int64 // bytes of which at 80 % connections end after an answer, at 90 % requests are refused, at 95 % nobody is accepted; what the control group or the machine has
}

// fill checks l and puts the defaults in, where the others have none.
func (l *Limits) fill(maxConns int) error {
	for _, f := range []struct {
		value int64
		name  string
	}{
		{int64(l.HeaderBytes), "header_bytes"}, {int64(l.LineBytes), "line_bytes"}, {int64(l.HeaderFields), "header_fields"}, {int64(l.Streams), "streams"},
		{int64(l.ControlFrames), "control_frames"}, {int64(l.Aborts), "aborts"}, {int64(l.BodyRate), "body_rate"},
		{int64(l.ClientConns), "client_conns"}, {int64(l.Handshakes), "handshakes"}, {l.Memory, "memory"},
	} {
		if f.value < 0 {
			return fmt.Errorf("limit %q is negative (%d); leave it out for the default", f.name, f.value)
		}
	}
	l.ClientConns = cmp.Or(l.ClientConns, max(maxConns/4, 256))
	return nil
}

// bites counts how often each limit bit. It is safe for concurrent use.
type bites [message.Limits]atomic.Int64

func (b *bites) bite(l message.Limit) { b[l].Add(1) }

// LimitStats counts how often a limit bit.
type LimitStats struct {
	Name  string `json:"name"`
	Bites int64  `json:"bites"`
}

func (b *bites) stats() (all []LimitStats) {
	for l := range message.Limits {
		all = append(all, LimitStats{l.String(), b[l].Load()})
	}
	return all
}

// A crowd counts the connections of each client, that none takes the places of
// all. It is safe for concurrent use.
type crowd struct {
	each int

	mu   sync.Mutex // guards open
	open map[netip.Prefix]int
}

// siteOf48 is how many times what a /64 may have a /48 may.
const siteOf48 = 4

// admit counts an HTTP connection in, unless its client has too many. Proxies
// that a site believes are many clients each.
func (w *webEngine) admit(svc *service, client acl.Addr) (leave func(), ok bool) {
	if slices.ContainsFunc(svc.trusted, func(l *acl.List) bool { return l.Contains(client, time.Time{}) }) {
		return func() {}, true
	}
	if !w.crowd.enter(client) {
		w.server.bites.bite(message.LimitClient)
		return nil, false
	}
	return func() { w.crowd.leave(client) }, true
}

// relieve gives what is done where memory gets short, or is there again.
func (w *webEngine) relieve() func(pressure.Level) {
	held := false
	return func(l pressure.Level) {
		if l >= pressure.Refuse {
			w.front.Shed()
		}
		if no := l >= pressure.TakeNoOne; no != held {
			held = no
			w.server.gate.hold(no)
		}
	}
}

// MemoryLimit is what limits.memory means here, in bytes; 0: it is not known.
func (s *Server) MemoryLimit() uint64 { return s.web.pressure.Limit() }

// keys are what a client counts as: an IPv4 address, or a /64 and its /48.
func (c *crowd) keys(client acl.Addr) (own, site netip.Prefix) {
	ip := client.Netip()
	if ip.Is4() {
		return netip.PrefixFrom(ip, 32), netip.Prefix{}
	}
	own, _ = ip.Prefix(64)
	site, _ = ip.Prefix(48)
	return own, site
}

// enter counts a connection in, if there is room for it.
func (c *crowd) enter(client acl.Addr) bool {
	own, site := c.keys(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[own] >= c.each || site.IsValid() && c.open[site] >= siteOf48*c.each {
		return false
	}
	c.open[own]++
	if site.IsValid() {
		c.open[site]++
	}
	return true
}

// leave counts a connection out.
func (c *crowd) leave(client acl.Addr) {
	own, site := c.keys(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range []netip.Prefix{own, site} {
		if n := c.open[key]; n > 1 {
			c.open[key] = n - 1
		} else {
			delete(c.open, key)
		}
	}
}
