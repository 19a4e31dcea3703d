package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"genkan/acl"
	"genkan/proxy/datagram"
)

// A Session is a UDP session that goes on in another process, with its socket:
// the backend sees no change.
type Session struct {
	Listener string         `json:"listener"`
	Forward  string         `json:"forward"`
	Client   netip.AddrPort `json:"client"`
	Local    netip.Addr     `json:"local"`   // that the client wrote to
	Index    int            `json:"index"`   // of the interface, for link-local clients
	Came     bool           `json:"tunnel"`  // by the tunnel
	Backend  netip.AddrPort `json:"backend"` // that the socket is connected to
	Source   netip.Addr     `json:"source"`  // its local address, where that was chosen; else zero
	Began    time.Time      `json:"began"`
	Proven   bool           `json:"proven"` // the client sent a second datagram
	Counts   [4]int64       `json:"counts"` // datagrams asked, told; bytes in, out
}

// parcels gives the sessions of a paused listener, and pauses each.
func (u *udpDoor) parcels() []Parcel {
	u.mu.Lock()
	all := make([]*session, 0, len(u.sessions))
	for _, one := range u.sessions {
		all = append(all, one)
	}
	u.mu.Unlock()
	var parcels []Parcel
	for _, one := range all {
		one.conn.Pause() // without the lock, which a handler may wait for
		f, err := one.conn.File()
		if err != nil {
			continue // it has ended meanwhile
		}
		parcels = append(parcels, Parcel{Session: one.describe(), File: f})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handed = true
	return parcels
}

func (one *session) describe() *Session {
	return &Session{
		Listener: one.door.door.endpoint.String(), Forward: one.forward.Name,
		Client: one.key.client, Local: one.key.local, Index: one.key.index, Came: one.tunnel,
		Backend: one.lease.addr, Source: one.source.addr, Began: one.began, Proven: one.proven.Load(),
		Counts: [4]int64{one.asked.Load(), one.told.Load(), one.in.Load(), one.out.Load()},
	}
}

// resume goes on with the sessions after all.
func (u *udpDoor) resume() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handed = false
	var errs []error
	for _, one := range u.sessions {
		errs = append(errs, one.conn.Resume())
	}
	return errors.Join(errs...)
}

// adopt goes on with a session of the older process, where the rules still let
// its client in, and to that backend. An error says why not.
func (u *udpDoor) adopt(h *Session, f *os.File) error {
	s := u.server
	st := s.state.Load()
	svc := st.services[u.door.endpoint]
	if svc == nil || svc.forward == nil || svc.forward.Name != h.Forward {
		f.Close()
		return fmt.Errorf("forward %q has another listener now", h.Forward)
	}
	peer, err := canonicalPeer(h.Client)
	if err != nil {
		f.Close()
		return err
	}
	one := &session{
		door: u, forward: svc.forward, group: svc.forward.groupOf(svc), began: h.Began, tunnel: h.Came,
		key: sessionKey{client: peer, local: h.Local, index: h.Index},
	}
	one.verdict = s.judge(svc.forward.gateway, acl.Client{Addr: acl.AddrFrom(peer.Addr()), Tunnel: h.Came})
	if !one.verdict.Allow {
		f.Close()
		one.verdict.Release()
		return errors.New("the rules deny it now")
	}
	if err := one.goOn(st, h, f); err != nil {
		one.release()
		return err
	}
	return nil
}

// goOn is begin with the socket of the older process.
func (one *session) goOn(st *state, h *Session, f *os.File) error {
	err := one.introduce(st)
	if err == nil && one.source.addr != h.Source {
		err = fmt.Errorf("it came from %s and would come from %s now", h.Source, one.source.addr)
	}
	if err == nil {
		one.lease, err = one.group.pickAddr(h.Backend)
	}
	if err != nil {
		f.Close()
		return err
	}
	one.asked.Store(h.Counts[0])
	one.told.Store(h.Counts[1])
	one.in.Store(h.Counts[2])
	one.out.Store(h.Counts[3])
	u := one.door
	one.proven.Store(h.Proven)
	return one.start(func() (*datagram.Socket, error) { return u.server.udp.Adopt(f, one) })
}

// pickAddr gives the backend that has an address, whether it is well or not.
func (g *group) pickAddr(addr netip.AddrPort) (*lease, error) {
	for _, m := range g.members {
		addrs := m.addrs.Load() // nil: a name that nobody has asked for yet
		if m.port == addr.Port() && (addrs == nil || slices.Contains(*addrs, addr.Addr())) {
			m.open.Add(1)
			m.total.Add(1)
			return &lease{m, addr}, nil
		}
	}
	return nil, fmt.Errorf("%s is no backend any more", addr)
}
