package proxy

import (
	"cmp"
	"slices"
	"time"

	"genkan/acl"
)

// A Connection is what a client has open now: a TCP connection, a UDP session,
// or a QUIC connection with its requests.
type Connection struct {
	ID      uint64    `json:"id"`      // for Kill; not used again in this process
	Network string    `json:"network"` // "tcp", "udp" or "quic"
	Client  acl.Addr  `json:"client"`
	Kind    string    `json:"kind"` // "site" or "forward"; "": not known yet, or many
	Name    string    `json:"name"` // of it
	Backend string    `json:"backend"`
	Since   time.Time `json:"since"`
	Up      int64     `json:"up"`   // bytes to the backend, of forwards
	Down    int64     `json:"down"` // bytes to the client, of forwards
}

// Connections gives the oldest of those that match, at most limit, and how many
// match in all.
func (s *Server) Connections(match func(Connection) bool, limit int) (some []Connection, all int) {
	for _, t := range s.trackers() {
		for _, c := range t.list() {
			if match(c) {
				some = append(some, c)
			}
		}
	}
	slices.SortFunc(some, func(a, b Connection) int { return cmp.Compare(a.ID, b.ID) })
	all = len(some)
	return some[:min(all, limit)], all
}

// Kill ends the connection of an id, and tells whether there is one.
func (s *Server) Kill(id uint64) bool {
	n := 0
	for _, t := range s.trackers() {
		n += t.cutStreams(func(st *stream) bool { return st.id == id })
	}
	return n > 0
}

func (s *Server) trackers() []*tracker { return []*tracker{s.conns, s.web.overQUIC} }

func (t *tracker) list() []Connection {
	t.mu.Lock()
	streams := make([]*stream, 0, len(t.open))
	for st := range t.open {
		streams = append(streams, st)
	}
	t.mu.Unlock()
	all := make([]Connection, len(streams))
	for i, st := range streams {
		all[i] = st.describe()
	}
	return all
}

func (st *stream) describe() Connection {
	c := Connection{ID: st.id, Network: st.network, Client: st.client, Since: time.Unix(0, st.began)}
	if g := st.at.Load(); g != nil {
		c.Kind, c.Name = g.kind, g.name
	}
	if m := st.backend.Load(); m != nil {
		c.Backend = m.text
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.moved != nil {
		c.Up, c.Down = st.moved.Bytes()
	}
	return c
}
