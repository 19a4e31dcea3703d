package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"genkan/acl"
	"genkan/proxy/http3"
)

// One Server goes on where another one ends, in another process and mostly of
// another version of this program:
//
//	older                                      younger
//	Sockets ───────────────────────────────►   New, Inherit
//	Pause: clients wait in the kernel's queues
//	       ──── parcels ───────────────────►   Take, Listen, Serve
//	Leave, and the end of Serve's context: what is open finishes here
//	or Resume, where the younger one fails

// A Parcel is something that is under way and goes on in the younger process.
// One of the pointers is set.
type Parcel struct {
	Session *Session `json:"session,omitempty"`
	QUIC    *QUIC    `json:"quic,omitempty"`
	File    *os.File `json:"-"` // its socket
}

// QUIC are the connections of a listener, whose packets the younger process
// passes on to the older one by File.
type QUIC struct {
	Listener string      `json:"listener"`
	Tags     []http3.Tag `json:"tags"`
}

// Sockets gives duplicates of all listening sockets, for Inherit in another
// process. The caller closes them.
func (s *Server) Sockets() (files []*os.File, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.doors {
		f, fileErr := d.file()
		if fileErr != nil {
			err = errors.Join(err, fmt.Errorf("listener %q: %w", d.endpoint, fileErr))
			continue
		}
		files = append(files, f)
	}
	return files, err
}

func (d *door) file() (*os.File, error) {
	switch {
	case d.datagrams != nil:
		return d.datagrams.File()
	case d.udp != nil:
		return d.udp.File()
	case d.accepting != nil:
		return d.accepting.File()
	}
	return d.tcp.File()
}

// Pause makes way for another process: new clients wait, nothing is written
// into StateDir any more, and pools give addresses to those only who have one.
// What is open goes on. The parcels are for Take there; the caller closes their
// files.
func (s *Server) Pause() ([]Parcel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil || s.ended {
		return nil, errors.New("proxy: Pause of a Server that does not serve")
	}
	s.gate.hold(true)
	var parcels []Parcel
	for _, d := range s.doors {
		switch {
		case d.quic != nil:
			older, err := d.quic.HandOver()
			if err != nil {
				return parcels, err
			}
			parcels = append(parcels, Parcel{QUIC: &QUIC{d.endpoint.String(), older.Tags}, File: older.Pipe})
		case d.datagrams != nil:
			d.datagrams.Pause()
			parcels = append(parcels, d.sessions.parcels()...)
		}
	}
	s.reserveAddresses()
	return parcels, s.pools.suspend()
}

// reserveAddresses gives every client that has a connection open its addresses
// now, as no new ones are given while two processes serve.
func (s *Server) reserveAddresses() {
	st := s.state.Load()
	if len(st.pools) == 0 {
		return
	}
	for _, client := range s.conns.clients() {
		for _, p := range st.pools {
			if lease, err := p.Lease(client); err == nil {
				lease.Release()
			}
		}
	}
}

// Resume ends Pause, where the other process has failed and is gone.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.pools.resume()
	for _, d := range s.doors {
		switch {
		case d.quic != nil:
			err = errors.Join(err, d.quic.TakeBack())
		case d.datagrams != nil:
			err = errors.Join(err, d.datagrams.Resume(), d.sessions.resume())
		}
	}
	s.gate.hold(false)
	return err
}

// Leave makes the end of Serve the part of the older process: HTTP connections
// end after their next answer, and what the host was given for the pools stays.
// Call it after Pause, when the other process serves.
func (s *Server) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
}

// Stay ends Leave of a Server that took over from another process: what it finds
// on the host is its own from now on.
func (s *Server) Stay() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = false
}

// Serving is closed once Serve takes clients.
func (s *Server) Serving() <-chan struct{} { return s.started }

// Open is the number of client connections and UDP sessions that are open, but
// for those over QUIC.
func (s *Server) Open() int { return s.conns.len() }

// Take is given the parcels of the older process, and owns their files. Call it
// before Serve.
func (s *Server) Take(parcels []Parcel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parcels = append(s.parcels, parcels...)
}

// parcelsOf takes those of a listener out. s.mu is held.
func (s *Server) parcelsOf(e endpoint) (its []Parcel) {
	s.parcels = slices.DeleteFunc(s.parcels, func(p Parcel) bool {
		is := p.Session != nil && p.Session.Listener == e.String() || p.QUIC != nil && p.QUIC.Listener == e.String()
		if is {
			its = append(its, p)
		}
		return is
	})
	return its
}

// closeParcels closes those that no listener has taken. s.mu is held.
func (s *Server) closeParcels() {
	for _, p := range s.parcels {
		p.File.Close()
	}
	s.parcels = nil
}

// retireFor is kept of a drain's time for those that have not gone by then; and
// so long QUIC handshakes that are under way are waited for.
const retireFor = time.Second

// retire lets HTTP clients go on until they ask the next time; nearly until
// ctx ends.
func (s *Server) retire(ctx context.Context) {
	s.web.retire()
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-retireFor))
		defer cancel()
	}
	select {
	case <-s.conns.waitIdle():
	case <-ctx.Done():
	}
}

// suspend lets another process have the file; nothing new is given meanwhile.
func (set *poolSet) suspend() error {
	for _, p := range set.open {
		p.Freeze(true)
	}
	return set.store.Suspend()
}

func (set *poolSet) resume() error {
	if err := set.store.Resume(); err != nil {
		return err
	}
	for _, p := range set.open {
		p.Freeze(false)
	}
	return nil
}

// leave closes the pools and leaves what was made for them to another process.
func (set *poolSet) leave() error {
	for name, p := range set.open {
		delete(set.open, name)
		p.Close()
	}
	err := set.store.Close()
	set.store = nil
	return err
}

// clients gives those of the streams that are open.
func (t *tracker) clients() (all []acl.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.open {
		all = append(all, st.client)
	}
	return all
}

func (t *tracker) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// hold lets clients wait in the kernel's queues, whether the gate is open or
// not. Each call with true is taken back by one with false.
func (g *gate) hold(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if on {
		g.held++
	} else {
		g.held--
	}
	for ln := range g.listeners {
		if g.held > 0 || g.shut.Load() {
			ln.Pause()
		} else {
			ln.Resume()
		}
	}
}
