package ftp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Ports are a range of TCP ports. The zero Ports are none.
type Ports struct{ First, Last uint16 }

// Contains tells whether p is of the range.
func (r Ports) Contains(p uint16) bool { return r.First > 0 && r.First <= p && p <= r.Last }

// A Hub leads the data connections that clients open to the sessions that told
// them the port. Its ports are told to many clients at once: what a
// connection belongs to is found by who comes. It is safe for concurrent use.
type Hub struct {
	ports Ports

	mu      sync.Mutex // guards the fields below
	waiting map[meeting]*expectation
	blind   map[netip.Addr][]*session // of a client, the newest last
	next    uint16                    // offset of the port to be given next
}

// A meeting is a client and the port that it was told.
type meeting struct {
	client netip.Addr
	port   uint16
}

// An expectation waits for one connection. The Hub puts it into come.
type expectation struct {
	meeting
	come chan *net.TCPConn // holds one
}

// NewHub makes the Hub of a range of ports, which the caller listens on.
func NewHub(ports Ports) *Hub {
	return &Hub{ports: ports, waiting: map[meeting]*expectation{}, blind: map[netip.Addr][]*session{}}
}

// Ports are the range that the Hub gives ports of.
func (h *Hub) Ports() Ports { return h.ports }

var errNoPort = errors.New("this client was told all ports of the passive range already")

// expect reserves a port for a client: wish, if it is of the range and free.
func (h *Hub) expect(client netip.Addr, wish uint16) (*expectation, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := int(h.ports.Last-h.ports.First) + 1
	for i := range count + 1 {
		at := meeting{client, wish}
		if i > 0 {
			at.port = h.ports.First + uint16((int(h.next)+i-1)%count)
		}
		if !h.ports.Contains(at.port) || h.waiting[at] != nil {
			continue
		}
		h.next = at.port - h.ports.First + 1
		e := &expectation{at, make(chan *net.TCPConn, 1)}
		h.waiting[at] = e
		return e, nil
	}
	return nil, errNoPort
}

// forget ends an expectation. A connection that nobody took is reset.
func (h *Hub) forget(e *expectation) {
	h.mu.Lock()
	if h.waiting[e.meeting] == e {
		delete(h.waiting, e.meeting)
	}
	h.mu.Unlock()
	select {
	case conn := <-e.come:
		reset(conn)
	default:
	}
}

// Arrive gives a connection of client to port of the range to the session
// that waits for it. It reports false, and leaves conn to the caller, where
// nobody does: the port was told to somebody else, or to nobody.
func (h *Hub) Arrive(conn *net.TCPConn, client netip.Addr, port uint16) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := meeting{client, port}
	if e := h.waiting[at]; e != nil {
		delete(h.waiting, at) // RFC 959 §3.2: one connection
		e.come <- conn
		return true
	}
	if sessions := h.blind[client]; len(sessions) > 0 {
		return sessions[len(sessions)-1].arriveBlind(conn, port)
	}
	return false
}

func (h *Hub) addBlind(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blind[s.ClientAddr] = append(h.blind[s.ClientAddr], s)
}

func (h *Hub) dropBlind(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := h.blind[s.ClientAddr][:0]
	for _, one := range h.blind[s.ClientAddr] {
		if one != s {
			left = append(left, one)
		}
	}
	if h.blind[s.ClientAddr] = left; len(left) == 0 {
		delete(h.blind, s.ClientAddr)
	}
}

// reset closes conn so that its other end can tell.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // of a socket that is closed next
	_ = conn.Close()
}
